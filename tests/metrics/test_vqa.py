"""The official VQA accuracy against stored values, against its definition, and on the edges of it."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.vqa.files.plain_values import read_annotations
from bua.metrics.vqa import (
    RULES,
    VQAAnnotation,
    best_accuracies,
    by_type,
    percent,
    question_accuracies,
    question_accuracy,
    vqa_accuracy,
)
from bua.metrics.vqa_pairs import pair_accuracy
from bua.text.answers import normalize, remove_punctuation

TEXTS = ["yes", "Yes", "no", "No.", "two", "2", "none", "t-shirt", "t shirt", "the", "a\tcat ", "1,000"]
ANSWERS = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12)
ASKED = st.builds(
    VQAAnnotation,
    ANSWERS,
    st.sampled_from(["yes/no", "number", "other"]),
    st.sampled_from(["is", "how many"]),
    st.just("yes"),
)
QUESTIONS = st.dictionaries(st.integers(0, 40), ASKED, min_size=1, max_size=12)


def slow(prediction: str, answers: list[str], rule: str) -> float:
    """The evaluation as its authors describe it: records with ids, one of them left out at a time.

    Before 2021 only the prediction lost its line breaks and the spaces at its edges.
    """
    records = [{"answer_id": n, "answer": a} for n, a in enumerate(answers)]
    if rule != "legacy":
        for record in records:
            record["answer"] = record["answer"].replace("\n", " ").replace("\t", " ").strip()
    said = prediction.replace("\n", " ").replace("\t", " ").strip()
    differ = len({record["answer"] for record in records}) > 1
    if rule == "always" or (rule == "official" and differ):
        records = [{**record, "answer": normalize(record["answer"])} for record in records]
        said = normalize(said)
    if rule == "legacy":
        if differ:
            records = [{**record, "answer": remove_punctuation(record["answer"])} for record in records]
        said = normalize(said)
    accuracies = []
    for record in records:
        others = [other for other in records if other != record]
        accuracies.append(min(1, float(len([o for o in others if o["answer"] == said])) / 3))
    total = 0.0
    for accuracy in accuracies:  # Python's own sum rounds otherwise from 3.12 on
        total += accuracy
    return total / len(accuracies)


def test_every_stored_question_has_its_accuracy_under_both_rules(shared) -> None:
    cases = json.loads((shared / "vqa_accuracy/cases.json").read_text())["questions"]
    assert len(cases) > 5
    for case in cases:
        for rule in ("official", "legacy"):
            accuracy = question_accuracy(case["prediction"], case["ground_truth"], rule)
            assert percent([accuracy]) == case[f"accuracy_{rule}"], case


def test_the_scored_prediction_file_is_equal_in_every_digit(shared) -> None:
    predictions = json.loads((shared / "vqa_accuracy/predictions.json").read_text())
    expected = json.loads((shared / "vqa_accuracy/expected.json").read_text())
    asked = read_annotations(shared / "data/vqa_v2_mini/annotations_val.json")
    said = {p["question_id"]: p["answer"] for p in predictions}
    assert set(expected) == {"official", "legacy"}
    for rule, numbers in expected.items():
        assert vqa_accuracy(said, asked, rule) == numbers
        assert len(numbers["per_question_type"]) > 40


@given(answers=ANSWERS, said=st.sampled_from([*TEXTS, "zebra", ""]), rule=st.sampled_from(RULES))
def test_accuracy_is_the_mean_over_leaving_out_each_annotator(answers, said, rule) -> None:
    if len(answers) > 1:
        assert question_accuracy(said, answers, rule) == slow(said, answers, rule)


@given(answers=ANSWERS, said=st.text(max_size=8), rule=st.sampled_from(RULES))
def test_accuracy_lies_between_0_and_1_and_changes_nothing(answers, said, rule) -> None:
    before = copy.deepcopy(answers)
    assert 0 <= question_accuracy(said, answers, rule) <= 1
    assert answers == before


@pytest.mark.parametrize("rule", RULES)
def test_one_annotator_is_agreed_with_or_not(rule: str) -> None:
    assert question_accuracy("red", ["red"], rule) == 1
    assert question_accuracy("blue", ["red"], rule) == 0


@pytest.mark.parametrize("rule", RULES)
def test_with_one_annotator_a_class_is_right_where_its_soft_target_is_1(rule: str) -> None:
    for said, wrote in (("red", "Red"), ("red", "red."), ("2", "two"), ("cat", "a cat ")):
        assert question_accuracy(said, [wrote], rule) == 1
        asked = {1: VQAAnnotation([wrote], "other", "what", wrote)}
        assert best_accuracies([said], asked, rule) == {1: 1}
    assert question_accuracy("red", ["Red"] * 2) == 0  # of two who agree what was written is compared


def test_before_2021_annotators_answers_kept_the_spaces_at_their_edges() -> None:
    for rule, accuracy in (("legacy", 0), ("official", 1)):
        assert question_accuracy("yes", ["yes "] * 10, rule) == accuracy
        assert question_accuracy("net", ["net "] * 4 + ["racket"] * 6, rule) == accuracy


def test_there_are_three_rules() -> None:
    assert RULES == ("official", "legacy", "always")


def test_ten_equal_answers_without_ids_are_ten_annotators() -> None:
    assert question_accuracy("red", ["red"] * 10) == 1


def test_where_all_agree_the_official_rule_compares_what_was_written() -> None:
    assert question_accuracy("t-shirt", ["t-shirt"] * 10) == 1
    assert question_accuracy("t shirt", ["t-shirt"] * 10) == 0
    assert question_accuracy("t shirt", ["t-shirt"] * 10, "always") == 1
    assert question_accuracy("t-shirt", ["t-shirt"] * 10, "legacy") == 0  # nothing could win


def test_a_rule_that_is_not_there_and_a_question_without_answers_are_errors() -> None:
    with pytest.raises(ValueError, match="no rule 'new'; there is official, legacy, always"):
        question_accuracy("a", ["a"], "new")
    with pytest.raises(ValueError, match="without answers"):
        question_accuracy("a", [])


def test_scoring_twice_gives_the_same_numbers(shared) -> None:
    asked = read_annotations(shared / "data/vqa_v2_mini/annotations_val.json")
    said = {i: "Two" for i in asked}
    before = copy.deepcopy(asked)
    for rule in RULES:
        assert vqa_accuracy(said, asked, rule) == vqa_accuracy(said, asked, rule)
    assert asked == before


def test_means_are_rounded_half_away_from_zero() -> None:
    assert percent([0.000625] * 2) == 0.06
    assert percent([1 / 3]) == 33.33
    assert percent([0.12345] * 1) == 12.35
    assert percent([0.00125]) == 0.13  # an exact tie: Python 3's round gives 0.12
    assert percent([]) == 0


@given(questions=QUESTIONS, said=st.sampled_from(TEXTS), rule=st.sampled_from(RULES))
def test_each_type_is_the_mean_of_its_own_questions(questions, said, rule) -> None:
    result = vqa_accuracy(dict.fromkeys(questions, said), questions, rule)
    for key, field in (("per_answer_type", "answer_type"), ("per_question_type", "question_type")):
        names = {getattr(asked, field) for asked in questions.values()}
        assert set(result[key]) == names
        for name in names:
            own = [a for a in questions.values() if getattr(a, field) == name]
            assert result[key][name] == percent([question_accuracy(said, a.answers, rule) for a in own])


@given(questions=QUESTIONS, choice=st.lists(st.sampled_from([*TEXTS, "zebra"])), rule=st.sampled_from(RULES))
def test_the_best_possible_accuracy_is_that_of_trying_every_answer_of_the_list(
    questions, choice, rule
) -> None:
    best = best_accuracies(choice, questions, rule)
    assert list(best) == list(questions)
    for question_id, asked in questions.items():
        tried = [question_accuracy(answer, asked.answers, rule) for answer in choice]
        assert best[question_id] == max(tried, default=0)


def test_best_possible_is_less_than_all_even_with_every_answer() -> None:
    asked = {1: VQAAnnotation(["red", "blue", "green", "pink", "grey"] * 2, "other", "what", "red")}
    every = best_accuracies(["red", "blue", "green", "pink", "grey"], asked)
    assert every == {1: pytest.approx(0.6)}
    assert by_type(every, asked)["per_answer_type"] == {"other": 60.0}


def test_each_different_text_is_normalised_once() -> None:
    normalize.cache_clear()
    questions = {n: VQAAnnotation(["Yes", "no."] * 5, "yes/no", "is", "Yes") for n in range(500)}
    question_accuracies(dict.fromkeys(questions, "YES"), questions)
    assert normalize.cache_info().misses == 3


PAIRED = {
    1: VQAAnnotation(["yes"] * 10, "yes/no", "is", "yes"),
    2: VQAAnnotation(["no"] * 10, "yes/no", "is", "no"),
    3: VQAAnnotation(["red"] * 3 + ["blue"] * 7, "other", "what", "blue"),
    4: VQAAnnotation(["2"] * 10, "number", "how many", "2"),
}


def test_a_pair_counts_only_if_both_answers_are_entirely_right() -> None:
    accuracies = question_accuracies({1: "yes", 2: "no", 3: "red", 4: "2"}, PAIRED)
    assert accuracies[3] == pytest.approx(0.9)
    found = pair_accuracy(accuracies, PAIRED, [(1, 2), (3, 4), (1, 9), (8, 9)])
    assert found == (50.0, {"yes/no": 100.0}, 2, 2, 0)


def test_who_answers_both_questions_of_a_pair_alike_has_none() -> None:
    blind = question_accuracies(dict.fromkeys(PAIRED, "yes"), PAIRED)
    assert pair_accuracy(blind, PAIRED, [(1, 2)]).accuracy == 0


def test_no_pair_has_no_accuracy() -> None:
    assert pair_accuracy({}, {}, [(1, 2)]) == (None, {}, 0, 1, 0)


def test_a_pair_that_comes_again_in_any_order_or_of_one_question_is_left_out() -> None:
    accuracies = dict.fromkeys(PAIRED, 1.0) | {3: 0.0}
    found = pair_accuracy(accuracies, PAIRED, [(1, 2), (2, 1), (1, 1), (3, 4), (1, 2)])
    assert found == (50.0, {"yes/no": 100.0}, 2, 0, 3)


@given(
    accuracies=st.dictionaries(st.integers(0, 9), st.sampled_from([0.0, 0.3, 0.9, 1.0]), min_size=1),
    pairs=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1),
)
def test_pair_accuracy_is_that_of_counting_pair_by_pair(accuracies, pairs) -> None:
    asked = {i: VQAAnnotation(["x"], "even" if i % 2 == 0 else "odd", "", "x") for i in accuracies}
    different = {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}
    whole = [(a, b) for a, b in different if {a, b} <= accuracies.keys()]
    found = pair_accuracy(accuracies, asked, pairs)
    assert (found.pairs, found.incomplete) == (len(whole), len(different) - len(whole))
    assert found.repeated == len(pairs) - len(different)
    right = [min(accuracies[a], accuracies[b]) == 1 for a, b in whole]
    assert found.accuracy == (percent(right) if whole else None)
    for name, rest in (("even", 0), ("odd", 1)):
        own = [min(accuracies[a], accuracies[b]) == 1 for a, b in whole if a % 2 == b % 2 == rest]
        assert found.per_answer_type.get(name) == (percent(own) if own else None)
