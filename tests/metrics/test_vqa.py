"""The official VQA accuracy, compared with stored values and with its definition, and its edge cases."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.vqa.files.read import read_annotations
from bua.metrics.vqa import (
    RULES,
    accuracy_by_type,
    oracle_accuracies,
    percent,
    question_accuracies,
    question_accuracy,
    vqa_accuracy,
)
from bua.metrics.vqa_pairs import pair_accuracy
from bua.structures.annotations import VQAAnnotation
from bua.text.answers import normalize, remove_punctuation

TEXTS = ["yes", "Yes", "no", "No.", "two", "2", "none", "t-shirt", "t shirt", "the", "a\tcat ", "1,000"]
ANSWERS = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12)
ANNOTATION = st.builds(
    VQAAnnotation,
    ANSWERS,
    st.sampled_from(["yes/no", "number", "other"]),
    st.sampled_from(["is", "how many"]),
    st.just("yes"),
)
QUESTIONS = st.dictionaries(st.integers(0, 40), ANNOTATION, min_size=1, max_size=12)


def slow_accuracy(prediction: str, answers: list[str], rule: str) -> float:
    """Compute the accuracy as the authors describe it: records with ids, leaving out one at a time.

    Before 2021, line breaks and surrounding spaces were removed from the prediction only.
    """
    records = [{"answer_id": n, "answer": a} for n, a in enumerate(answers)]
    if rule != "legacy":
        for record in records:
            record["answer"] = record["answer"].replace("\n", " ").replace("\t", " ").strip()
    answer = prediction.replace("\n", " ").replace("\t", " ").strip()
    differ = len({record["answer"] for record in records}) > 1
    if rule == "always" or (rule == "official" and differ):
        records = [{**record, "answer": normalize(record["answer"])} for record in records]
        answer = normalize(answer)
    if rule == "legacy":
        if differ:
            records = [{**record, "answer": remove_punctuation(record["answer"])} for record in records]
        answer = normalize(answer)
    accuracies = []
    for record in records:
        others = [other for other in records if other != record]
        accuracies.append(min(1, float(len([o for o in others if o["answer"] == answer])) / 3))
    total = 0.0
    for accuracy in accuracies:  # the built-in sum rounds differently from Python 3.12 on
        total += accuracy
    return total / len(accuracies)


def test_stored_questions_have_the_stored_accuracy_under_both_rules(shared) -> None:
    cases = json.loads((shared / "vqa_accuracy/cases.json").read_text())["questions"]
    assert len(cases) > 5
    for case in cases:
        for rule in ("official", "legacy"):
            accuracy = question_accuracy(case["prediction"], case["ground_truth"], rule)
            assert percent([accuracy]) == case[f"accuracy_{rule}"], case


def test_stored_predictions_have_the_stored_scores_in_every_digit(shared) -> None:
    predictions = json.loads((shared / "vqa_accuracy/predictions.json").read_text())
    expected = json.loads((shared / "vqa_accuracy/expected.json").read_text())
    questions = read_annotations(shared / "data/vqa_v2_mini/annotations_val.json")
    answers = {p["question_id"]: p["answer"] for p in predictions}
    assert set(expected) == {"official", "legacy"}
    for rule, numbers in expected.items():
        assert vqa_accuracy(answers, questions, rule) == numbers
        assert len(numbers["per_question_type"]) > 40


@given(answers=ANSWERS, prediction=st.sampled_from([*TEXTS, "zebra", ""]), rule=st.sampled_from(RULES))
def test_accuracy_is_the_mean_over_leaving_out_each_annotator(answers, prediction, rule) -> None:
    if len(answers) > 1:
        assert question_accuracy(prediction, answers, rule) == slow_accuracy(prediction, answers, rule)


@given(answers=ANSWERS, prediction=st.text(max_size=8), rule=st.sampled_from(RULES))
def test_accuracy_is_between_0_and_1_and_leaves_the_answers_unchanged(answers, prediction, rule) -> None:
    before = copy.deepcopy(answers)
    assert 0 <= question_accuracy(prediction, answers, rule) <= 1
    assert answers == before


@pytest.mark.parametrize("rule", RULES)
def test_the_answer_of_a_single_annotator_is_right_or_wrong(rule: str) -> None:
    assert question_accuracy("red", ["red"], rule) == 1
    assert question_accuracy("blue", ["red"], rule) == 0


@pytest.mark.parametrize("rule", RULES)
def test_a_single_annotator_is_compared_after_normalization_as_in_the_soft_targets(rule: str) -> None:
    for prediction, answer in (("red", "Red"), ("red", "red."), ("2", "two"), ("cat", "a cat ")):
        assert question_accuracy(prediction, [answer], rule) == 1
        questions = {1: VQAAnnotation([answer], "other", "what", answer)}
        assert oracle_accuracies([prediction], questions, rule) == {1: 1}
    assert question_accuracy("red", ["Red"] * 2) == 0  # two annotators who agree: raw texts are compared


def test_the_legacy_rule_keeps_surrounding_spaces_of_the_annotators_answers() -> None:
    for rule, accuracy in (("legacy", 0), ("official", 1)):
        assert question_accuracy("yes", ["yes "] * 10, rule) == accuracy
        assert question_accuracy("net", ["net "] * 4 + ["racket"] * 6, rule) == accuracy


def test_there_are_three_rules() -> None:
    assert RULES == ("official", "legacy", "always")


def test_ten_equal_answers_without_ids_are_ten_annotators() -> None:
    assert question_accuracy("red", ["red"] * 10) == 1


def test_the_official_rule_compares_raw_texts_where_all_annotators_agree() -> None:
    assert question_accuracy("t-shirt", ["t-shirt"] * 10) == 1
    assert question_accuracy("t shirt", ["t-shirt"] * 10) == 0
    assert question_accuracy("t shirt", ["t-shirt"] * 10, "always") == 1
    assert question_accuracy("t-shirt", ["t-shirt"] * 10, "legacy") == 0  # no prediction can be right


def test_an_unknown_rule_and_a_question_without_answers_are_errors() -> None:
    with pytest.raises(ValueError, match="unknown rule 'new', expected one of official, legacy, always"):
        question_accuracy("a", ["a"], "new")
    with pytest.raises(ValueError, match="without answers"):
        question_accuracy("a", [])


def test_scoring_twice_gives_the_same_numbers(shared) -> None:
    questions = read_annotations(shared / "data/vqa_v2_mini/annotations_val.json")
    predictions = {i: "Two" for i in questions}
    before = copy.deepcopy(questions)
    for rule in RULES:
        assert vqa_accuracy(predictions, questions, rule) == vqa_accuracy(predictions, questions, rule)
    assert questions == before


def test_means_are_rounded_half_away_from_zero() -> None:
    assert percent([0.000625] * 2) == 0.06
    assert percent([1 / 3]) == 33.33
    assert percent([0.12345] * 1) == 12.35
    assert percent([0.00125]) == 0.13  # an exact tie: Python 3's round gives 0.12
    assert percent([]) == 0


@given(questions=QUESTIONS, prediction=st.sampled_from(TEXTS), rule=st.sampled_from(RULES))
def test_the_accuracy_of_a_type_is_the_mean_over_its_questions(questions, prediction, rule) -> None:
    result = vqa_accuracy(dict.fromkeys(questions, prediction), questions, rule)
    for key, field in (("per_answer_type", "answer_type"), ("per_question_type", "question_type")):
        names = {getattr(annotation, field) for annotation in questions.values()}
        assert set(result[key]) == names
        for name in names:
            own = [a for a in questions.values() if getattr(a, field) == name]
            assert result[key][name] == percent([question_accuracy(prediction, a.answers, rule) for a in own])


@given(
    questions=QUESTIONS, vocabulary=st.lists(st.sampled_from([*TEXTS, "zebra"])), rule=st.sampled_from(RULES)
)
def test_the_oracle_accuracy_equals_trying_every_answer(questions, vocabulary, rule) -> None:
    best = oracle_accuracies(vocabulary, questions, rule)
    assert list(best) == list(questions)
    for question_id, annotation in questions.items():
        accuracies = [question_accuracy(answer, annotation.answers, rule) for answer in vocabulary]
        assert best[question_id] == max(accuracies, default=0)


def test_the_oracle_accuracy_can_be_below_1_even_with_every_answer() -> None:
    questions = {1: VQAAnnotation(["red", "blue", "green", "pink", "grey"] * 2, "other", "what", "red")}
    best = oracle_accuracies(["red", "blue", "green", "pink", "grey"], questions)
    assert best == {1: pytest.approx(0.6)}
    assert accuracy_by_type(best, questions)["per_answer_type"] == {"other": 60.0}


def test_each_distinct_text_is_normalized_once() -> None:
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


def test_a_pair_counts_only_if_both_answers_have_accuracy_1() -> None:
    accuracies = question_accuracies({1: "yes", 2: "no", 3: "red", 4: "2"}, PAIRED)
    assert accuracies[3] == pytest.approx(0.9)
    result = pair_accuracy(accuracies, PAIRED, [(1, 2), (3, 4), (1, 9), (8, 9)])
    assert result == (50.0, {"yes/no": 100.0}, 2, 2, 0)


def test_the_same_answer_to_both_questions_of_a_pair_scores_0() -> None:
    blind = question_accuracies(dict.fromkeys(PAIRED, "yes"), PAIRED)
    assert pair_accuracy(blind, PAIRED, [(1, 2)]).accuracy == 0


def test_without_a_complete_pair_there_is_no_accuracy() -> None:
    assert pair_accuracy({}, {}, [(1, 2)]) == (None, {}, 0, 1, 0)


def test_duplicate_pairs_and_pairs_of_one_question_are_left_out() -> None:
    accuracies = dict.fromkeys(PAIRED, 1.0) | {3: 0.0}
    result = pair_accuracy(accuracies, PAIRED, [(1, 2), (2, 1), (1, 1), (3, 4), (1, 2)])
    assert result == (50.0, {"yes/no": 100.0}, 2, 0, 3)


@given(
    accuracies=st.dictionaries(st.integers(0, 9), st.sampled_from([0.0, 0.3, 0.9, 1.0]), min_size=1),
    pairs=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1),
)
def test_pair_accuracy_equals_counting_pair_by_pair(accuracies, pairs) -> None:
    questions = {i: VQAAnnotation(["x"], "even" if i % 2 == 0 else "odd", "", "x") for i in accuracies}
    distinct = {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}
    complete = [(a, b) for a, b in distinct if {a, b} <= accuracies.keys()]
    result = pair_accuracy(accuracies, questions, pairs)
    assert (result.pairs, result.incomplete) == (len(complete), len(distinct) - len(complete))
    assert result.repeated == len(pairs) - len(distinct)
    correct = [min(accuracies[a], accuracies[b]) == 1 for a, b in complete]
    assert result.accuracy == (percent(correct) if complete else None)
    for name, parity in (("even", 0), ("odd", 1)):
        own = [min(accuracies[a], accuracies[b]) == 1 for a, b in complete if a % 2 == b % 2 == parity]
        assert result.per_answer_type.get(name) == (percent(own) if own else None)
