"""Normalization of answers, answer vocabularies and soft target scores."""

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


def test_misspelled_contractions_lack_exactly_one_apostrophe() -> None:
    assert len(CONTRACTIONS) > 100
    for text, form in CONTRACTIONS.items():
        if text != "somebody'd":
            assert len(form) == len(text) + 1
            assert text in {form[:n] + form[n + 1 :] for n, c in enumerate(form) if c == "'"}


def test_normalization_equals_the_official_evaluation(shared) -> None:
    cases = json.loads((shared / "vqa_accuracy/cases.json").read_text())["normalised"]
    assert len(cases) > 30
    wrong = [c for c in cases if normalize(c["answer"]) != c["normalised"]]
    assert wrong == []


#: Published answers (of 3,129) that have punctuation, digits, contractions or dropped articles.
PUBLISHED = """
    at&t|2.00|1.00|1 4|000|12:35|10:08|4th of july|1st|2nd|3rd|1950s|no 1|1 world|1 way|right 1
    1 on right|1 in middle|7 eleven|10 years|2 men|30 mph|100 year party ct|they aren't|it isn't
    he isn't|he's not|it's not|it's raining|can't see it|can't see|can't tell|cannot tell|don't walk
    don't know|i don't know|nathan's|st patrick's day|baby's breath|mcdonald's|man's|woman's|men's
    women's|valentine's day|all way|winnie pooh|side of road|t shirt|t shirt and jeans|mercedes benz
    coca cola|zig zag|multi colored|red white and blue|red white blue|black white|jp morgan|mt airy
    to get to other side|in cabbage town|not at all|all of them|i|s|t|d|am|pm|us
"""


def test_published_answers_are_already_normalized() -> None:
    answers = [answer.strip() for line in PUBLISHED.split("\n") for answer in line.split("|")]
    assert "" in answers
    assert len(set(answers)) > 65
    assert [a for a in answers if normalize(a) != a] == []


ANSWERS = st.lists(st.sampled_from(["yes", "no", "2", "two", "a cat", "cat", "the"]), min_size=1, max_size=12)


def by_enumeration(answer: str, answers: list[str], rule: str) -> float:
    """Return the soft score of an answer, annotator by annotator."""
    normalized = [normalize(a) for a in answers]
    n, total = normalized.count(answer), len(normalized)
    if total == 1:
        return float(n)
    if rule == "third":
        return min(1, n / 3)
    if rule == "tenth":
        return n / total
    left_out = [normalized[:k] + normalized[k + 1 :] for k in range(total)]
    return sum(min(1, others.count(answer) / 3) for others in left_out) / total


@given(answers=ANSWERS, rule=st.sampled_from(sorted(SOFT_SCORES)))
def test_soft_scores_equal_enumeration_for_any_number_of_annotators(answers, rule) -> None:
    vocabulary = AnswerVocabulary.from_questions(
        [(a, answers) for a in answers], min_count=1, keep_empty=True
    )
    scores = vocabulary.soft_scores(answers, rule)
    assert set(scores) == set(range(len(vocabulary)))  # every answer has an annotator
    for index, score in scores.items():
        assert score == pytest.approx(by_enumeration(vocabulary.answers[index], answers, rule))


@given(answers=ANSWERS)
def test_official_soft_scores_are_the_accuracy_of_predicting_the_answer(answers) -> None:
    from bua.metrics.vqa import question_accuracy

    vocabulary = AnswerVocabulary.from_questions(
        [(a, answers) for a in answers], min_count=1, keep_empty=True
    )
    for index, score in vocabulary.soft_scores(answers).items():
        assert score == pytest.approx(question_accuracy(vocabulary.answers[index], answers, "always"))


def test_answers_outside_the_vocabulary_have_no_score() -> None:
    vocabulary = AnswerVocabulary(["red"], ["red"])
    assert vocabulary.soft_scores(["blue"] * 10) == {}
    assert vocabulary.soft_scores([]) == {}
    assert (vocabulary.index("red"), vocabulary.index("blue")) == (0, None)


def test_an_unknown_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown rule 'half', expected one of official, third, tenth"):
        AnswerVocabulary(["red"], ["red"]).soft_scores(["red"], "half")


def test_soft_scores_of_ten_annotators() -> None:
    vocabulary = AnswerVocabulary(["a1", "b1", "c1", "d1"], ["a1", "b1", "c1", "d1"])
    answers = ["a1"] + ["b1"] * 2 + ["c1"] * 3 + ["d1"] * 4
    assert vocabulary.soft_scores(answers) == pytest.approx({0: 0.3, 1: 0.6, 2: 0.9, 3: 1.0})
    assert vocabulary.soft_scores(answers, "third") == pytest.approx({0: 1 / 3, 1: 2 / 3, 2: 1, 3: 1})
    assert vocabulary.soft_scores(answers, "tenth") == pytest.approx({0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4})


def test_answers_are_normalized_before_counting_and_predicted_in_their_usual_form() -> None:
    questions = [("T-shirt", ["T-shirt"]), ("t shirt", ["t shirt", "T-shirt"]), ("no", ["no"])]
    vocabulary = AnswerVocabulary.from_questions(questions, min_count=2, keep_empty=False)
    assert vocabulary.answers == ("t shirt",)
    assert vocabulary.surface_forms == ("T-shirt",)


def test_the_empty_answer_is_kept_only_when_asked_for() -> None:
    questions = [("the", ["the"])] * 3
    assert AnswerVocabulary.from_questions(questions, min_count=1, keep_empty=True).answers == ("",)
    assert AnswerVocabulary.from_questions(questions, min_count=1, keep_empty=False).answers == ()


def test_changed_answers_are_refused() -> None:
    content = AnswerVocabulary(["yes", "no"], ["yes", "no"]).to_dict()
    content["answers"] = content["surface"] = ["no", "yes"]
    with pytest.raises(InputError, match="hash"):
        AnswerVocabulary.from_dict(content)


@pytest.mark.parametrize(
    ("answers", "surface", "message"),
    [
        (["yes", "no"], ["no", "yes"], "surface form 'no' does not normalize to answer 'yes'"),
        (["no", "yes"], ["yes", "no"], "surface form 'yes' does not normalize to answer 'no'"),
        (["yes", "no"], ["yes"], "2 answers have 1 surface forms, expected one for each"),
        (["yes", 2], ["yes", "2"], "not an answer vocabulary: answers[1] is 2, expected a string"),
        (["yes", "2"], ["yes", 2], "not an answer vocabulary: surface[1] is 2, expected a string"),
        (["yes"], ["yes", "no"], "1 answers have 2 surface forms, expected one for each"),
        (["yes", "yes"], ["yes", "Yes"], "answer 'yes' is duplicated"),
    ],
)
def test_wrong_surface_forms_are_refused(answers, surface, message, tmp_path) -> None:
    """They would be predicted and scored."""
    sha = hashlib.sha256(json.dumps(answers).encode()).hexdigest()
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"answers": answers, "surface": surface, "sha256": sha}))
    with pytest.raises(InputError) as refused:
        AnswerVocabulary.load(path)
    assert str(refused.value) == f"{path}: {message}"


def test_an_answer_that_is_not_normalized_may_be_its_own_surface_form() -> None:
    answers, forms = json.loads('[["the cat.", "no"], ["the cat.", "no"]]')
    assert answers[0] is not forms[0]
    assert AnswerVocabulary(answers, forms).surface_forms == ("the cat.", "no")


def test_a_question_counts_once_and_a_single_answer_scores_1() -> None:
    questions = [("red", ["red"]), ("red", ["red"]), ("blue", ["blue"])]
    for min_count, kept in ((1, ("red", "blue")), (2, ("red",)), (3, ())):
        vocabulary = AnswerVocabulary.from_questions(questions, min_count=min_count, keep_empty=False)
        assert vocabulary.answers == kept
    vocabulary = AnswerVocabulary(["red", "blue"], ["red", "blue"])
    assert vocabulary.soft_scores(["red"], "tenth") == {0: 1.0}
    assert vocabulary.soft_scores(["red", "blue"], "official") == pytest.approx({0: 1 / 6, 1: 1 / 6})


def test_a_published_list_takes_the_surface_forms_of_annotators_even_if_it_is_not_normalized(
    tmp_path,
) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(["yes", "t shirt", "don't know.", "2"]))
    counted = AnswerVocabulary.load(path).with_surface_forms_from(["t-shirt", "t-shirt", "T shirt", "Yes"])
    assert counted.answers == ("yes", "t shirt", "don't know", "2")
    assert counted.surface_forms == ("Yes", "t-shirt", "don't know.", "2")
    assert counted.with_surface_forms_from(["YES"] * 9) is counted


def test_answers_are_ordered_by_count_and_then_alphabetically() -> None:
    questions = [(a, [a]) for a in ["pear", "fig", "Yes", "apple", "yes", "fig", "yes"]]
    vocabulary = AnswerVocabulary.from_questions(questions, min_count=1, keep_empty=False)
    assert vocabulary.answers == ("yes", "fig", "apple", "pear")


@given(questions=st.lists(ANSWERS, min_size=1), seed=st.randoms(use_true_random=False))
def test_the_order_of_the_questions_does_not_matter(questions, seed) -> None:
    ordered = [(answers[0], answers) for answers in questions]
    shuffled = seed.sample(ordered, len(ordered))
    build = AnswerVocabulary.from_questions
    one, other = (build(q, min_count=1, keep_empty=True) for q in (ordered, shuffled))
    assert (one.answers, one.surface_forms) == (other.answers, other.surface_forms)


def test_the_surface_form_of_an_answer_without_annotator_is_the_normalized_answer() -> None:
    vocabulary = AnswerVocabulary.from_questions([("The Cat", ["dog"])], min_count=1, keep_empty=False)
    assert (vocabulary.answers, vocabulary.surface_forms) == (("cat",), ("cat",))


def test_answers_of_real_questions_equal_a_count_by_hand(shared) -> None:
    """Normalization merges two frequent answers with others: "none" is "0", "t-shirt" is "t shirt"."""
    questions: list[tuple[str, list[str]]] = []
    for split in ("train", "val"):
        content = json.loads((shared / f"data/vqa_v2_mini/annotations_{split}.json").read_text())
        for annotation in content["annotations"]:
            texts = [a["answer"] for a in annotation["answers"]]
            questions.append((annotation["multiple_choice_answer"], texts))
    punctuation = str.maketrans({"-": " ", ",": ""})
    by_hand = Counter("0" if a == "none" else a.translate(punctuation) for a, _ in questions)
    expected = [287, 57, 30, 23, 18, 16, 14, 12, 12]
    for threshold, count in enumerate(expected, 1):
        vocabulary = AnswerVocabulary.from_questions(questions, min_count=threshold, keep_empty=False)
        assert set(vocabulary.answers) == {a for a, n in by_hand.items() if n >= threshold}
        assert len(vocabulary) == count
    assert vocabulary.answers[:8] == ("no", "yes", "1", "2", "0", "3", "4", "white")
    assert [by_hand[a] for a in vocabulary.answers[:4]] == [146, 136, 66, 52]
