"""Answers: their normal form, the list that a model chooses from, and what each is worth as a target."""

import hashlib
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.errors import InputError
from bua.text import AnswerVocabulary, normalize
from bua.text.answers import SOFT_SCORES
from bua.text.contractions import CONTRACTIONS


def test_contractions_miss_exactly_one_apostrophe() -> None:
    assert len(CONTRACTIONS) > 100
    for written, form in CONTRACTIONS.items():
        if written != "somebody'd":
            assert len(form) == len(written) + 1
            assert written in {form[:n] + form[n + 1 :] for n, c in enumerate(form) if c == "'"}


def test_normal_forms_of_the_official_evaluation(shared) -> None:
    cases = json.loads((shared / "vqa_accuracy/cases.json").read_text())["normalised"]
    assert len(cases) > 30
    wrong = [c for c in cases if normalize(c["answer"]) != c["normalised"]]
    assert wrong == []


#: Those of the 3,129 published answers that have marks, digits, contractions or what articles leave.
PUBLISHED = """
    at&t|2.00|1.00|1 4|000|12:35|10:08|4th of july|1st|2nd|3rd|1950s|no 1|1 world|1 way|right 1
    1 on right|1 in middle|7 eleven|10 years|2 men|30 mph|100 year party ct|they aren't|it isn't
    he isn't|he's not|it's not|it's raining|can't see it|can't see|can't tell|cannot tell|don't walk
    don't know|i don't know|nathan's|st patrick's day|baby's breath|mcdonald's|man's|woman's|men's
    women's|valentine's day|all way|winnie pooh|side of road|t shirt|t shirt and jeans|mercedes benz
    coca cola|zig zag|multi colored|red white and blue|red white blue|black white|jp morgan|mt airy
    to get to other side|in cabbage town|not at all|all of them|i|s|t|d|am|pm|us
"""


def test_answers_of_published_lists_are_their_own_normal_forms() -> None:
    answers = [answer.strip() for line in PUBLISHED.split("\n") for answer in line.split("|")]
    assert "" in answers
    assert len(set(answers)) > 65
    assert [a for a in answers if normalize(a) != a] == []


ANSWERS = st.lists(st.sampled_from(["yes", "no", "2", "two", "a cat", "cat", "the"]), min_size=1, max_size=12)


def by_enumeration(answer: str, answers: list[str], rule: str) -> float:
    """What an answer is worth, annotator by annotator."""
    given, n = [normalize(a) for a in answers], [normalize(a) for a in answers].count(answer)
    if len(given) == 1:
        return float(n)
    if rule == "third":
        return min(1, n / 3)
    if rule == "tenth":
        return n / len(given)
    left_out = [given[:k] + given[k + 1 :] for k in range(len(given))]
    return sum(min(1, others.count(answer) / 3) for others in left_out) / len(left_out)


@given(answers=ANSWERS, rule=st.sampled_from(sorted(SOFT_SCORES)))
def test_soft_scores_are_those_of_enumeration_for_any_number_of_annotators(answers, rule) -> None:
    vocabulary = AnswerVocabulary.count([(a, answers) for a in answers], min_count=1, keep_empty=True)
    scores = vocabulary.soft_scores(answers, rule)
    assert set(scores) == set(range(len(vocabulary)))  # all of them were given by somebody
    for index, score in scores.items():
        assert score == pytest.approx(by_enumeration(vocabulary.answers[index], answers, rule))


@given(answers=ANSWERS)
def test_official_soft_scores_are_the_accuracy_of_giving_the_answer(answers) -> None:
    from bua.metrics.vqa import question_accuracy

    vocabulary = AnswerVocabulary.count([(a, answers) for a in answers], min_count=1, keep_empty=True)
    for index, score in vocabulary.soft_scores(answers).items():
        assert score == pytest.approx(question_accuracy(vocabulary.answers[index], answers, "always"))


def test_answers_that_are_not_in_the_list_are_worth_nothing() -> None:
    vocabulary = AnswerVocabulary(["red"], ["red"])
    assert vocabulary.soft_scores(["blue"] * 10) == {}
    assert vocabulary.soft_scores([]) == {}
    assert (vocabulary.index("red"), vocabulary.index("blue")) == (0, None)


def test_a_rule_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rule 'half'; there is official, third, tenth"):
        AnswerVocabulary(["red"], ["red"]).soft_scores(["red"], "half")


def test_soft_scores_of_ten_annotators() -> None:
    vocabulary = AnswerVocabulary(["a1", "b1", "c1", "d1"], ["a1", "b1", "c1", "d1"])
    answers = ["a1"] + ["b1"] * 2 + ["c1"] * 3 + ["d1"] * 4
    assert vocabulary.soft_scores(answers) == pytest.approx({0: 0.3, 1: 0.6, 2: 0.9, 3: 1.0})
    assert vocabulary.soft_scores(answers, "third") == pytest.approx({0: 1 / 3, 1: 2 / 3, 2: 1, 3: 1})
    assert vocabulary.soft_scores(answers, "tenth") == pytest.approx({0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4})


def test_answers_are_normalised_before_they_are_counted_and_written_as_people_did() -> None:
    questions = [("T-shirt", ["T-shirt"]), ("t shirt", ["t shirt", "T-shirt"]), ("no", ["no"])]
    vocabulary = AnswerVocabulary.count(questions, min_count=2, keep_empty=False)
    assert vocabulary.answers == ("t shirt",)
    assert vocabulary.surface == ("T-shirt",)


def test_the_empty_answer_is_kept_only_when_asked_for() -> None:
    questions = [("the", ["the"])] * 3
    assert AnswerVocabulary.count(questions, min_count=1, keep_empty=True).answers == ("",)
    assert AnswerVocabulary.count(questions, min_count=1, keep_empty=False).answers == ()


def test_changed_answers_are_refused() -> None:
    content = AnswerVocabulary(["yes", "no"], ["yes", "no"]).to_dict()
    content["answers"] = content["surface"] = ["no", "yes"]
    with pytest.raises(InputError, match="hash"):
        AnswerVocabulary.from_dict(content)


@pytest.mark.parametrize(
    ("answers", "surface", "message"),
    [
        (["yes", "no"], ["no", "yes"], "'no' is not a form of the answer 'yes'"),
        (["yes", "no"], ["yes"], "there are 1 forms of 2 answers, not one of each"),
        (["yes", 2], ["yes", "2"], "the answer 2, written as '2': texts are needed"),
        (["yes", "2"], ["yes", 2], "the answer '2', written as 2: texts are needed"),
        (["yes", "yes"], ["yes", "Yes"], "'yes' is in the answers twice"),
    ],
)
def test_forms_that_are_not_of_the_answers_are_refused(answers, surface, message, tmp_path) -> None:
    """They would be what is predicted, and what accuracies are counted of."""
    sha = hashlib.sha256(json.dumps(answers).encode()).hexdigest()
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"answers": answers, "surface": surface, "sha256": sha}))
    with pytest.raises(InputError) as refused:
        AnswerVocabulary.load(path)
    assert str(refused.value) == f"{path}: {message}"


def test_a_list_of_others_is_written_as_annotators_write_even_where_one_answer_is_not_in_normal_form(
    tmp_path,
) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(["yes", "t shirt", "don't know.", "2"]))
    written = AnswerVocabulary.load(path).written_as(["t-shirt", "t-shirt", "T shirt", "Yes"])
    assert written.answers == ("yes", "t shirt", "don't know", "2")
    assert written.surface == ("Yes", "t-shirt", "don't know.", "2")
    again = written.written_as(["YES"] * 9)
    assert again is written


def test_answers_stand_in_the_order_of_their_counts_and_then_of_their_texts() -> None:
    questions = [(a, [a]) for a in ["pear", "fig", "Yes", "apple", "yes", "fig", "yes"]]
    vocabulary = AnswerVocabulary.count(questions, min_count=1, keep_empty=False)
    assert vocabulary.answers == ("yes", "fig", "apple", "pear")


@given(questions=st.lists(ANSWERS, min_size=1), seed=st.randoms(use_true_random=False))
def test_the_order_of_the_questions_does_not_matter(questions, seed) -> None:
    asked = [(answers[0], answers) for answers in questions]
    shuffled = seed.sample(asked, len(asked))
    count = AnswerVocabulary.count
    one, other = (count(q, min_count=1, keep_empty=True) for q in (asked, shuffled))
    assert (one.answers, one.surface) == (other.answers, other.surface)


def test_an_answer_that_no_annotator_wrote_is_written_in_its_normal_form() -> None:
    vocabulary = AnswerVocabulary.count([("The Cat", ["dog"])], min_count=1, keep_empty=False)
    assert (vocabulary.answers, vocabulary.surface) == (("cat",), ("cat",))


def test_answers_of_real_questions_are_as_many_as_counted_by_hand(shared) -> None:
    """Two of the answers that people chose most change in counting: "none" is "0", "t-shirt" is "t shirt"."""
    asked: list[tuple[str, list[str]]] = []
    for split in ("train", "val"):
        content = json.loads((shared / f"data/vqa_v2_mini/annotations_{split}.json").read_text())
        for one in content["annotations"]:
            asked.append((one["multiple_choice_answer"], [a["answer"] for a in one["answers"]]))
    marks = str.maketrans({"-": " ", ",": ""})
    by_hand = Counter("0" if a == "none" else a.translate(marks) for a, _ in asked)
    expected = [287, 57, 30, 23, 18, 16, 14, 12, 12]
    for threshold, count in enumerate(expected, 1):
        vocabulary = AnswerVocabulary.count(asked, min_count=threshold, keep_empty=False)
        assert set(vocabulary.answers) == {a for a, n in by_hand.items() if n >= threshold}
        assert len(vocabulary) == count
    assert vocabulary.answers[:8] == ("no", "yes", "1", "2", "0", "3", "4", "white")
    assert [by_hand[a] for a in vocabulary.answers[:4]] == [146, 136, 66, 52]
