"""The official VQA v2 accuracy.

Source: the evaluation code of the challenge as of 2021. The accuracy of an answer is
min(1, number of other annotators who gave it / 3), averaged over leaving out each annotator. The rule
decides which texts are normalized before they are compared:

``official``
    As of 2021: the prediction and all annotators' answers are normalized, unless all annotators agree,
    in which case the raw texts are compared.
``legacy``
    Before 2021: the prediction is always normalized. The annotators' answers are kept as written,
    surrounding spaces included, but without punctuation if they do not all agree.
``always``
    Everything is always normalized, as in several later evaluations.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import reduce
from operator import add
from typing import TypeVar

from bua.structures.annotations import VQAAnnotation
from bua.text.answers import clean, normalize, remove_punctuation

RULES = ("official", "legacy", "always")
#: Type of a question id: an integer, or a string in some data sets.
IdT = TypeVar("IdT", bound=Hashable)
Percentages = dict[str, float | dict[str, float]]


def question_accuracy(prediction: str, answers: Sequence[str], rule: str = "official") -> float:
    """Return the accuracy of one answer, 0 to 1.

    Annotators are identified by their position, so that answers without ``answer_id`` are scored
    correctly. Their number is arbitrary: the mean over leaving out each is the same as for ten. A single
    annotator cannot be left out, so the accuracy is then whether the two answers agree after
    normalization, under every rule, as in the soft targets.

    Args:
        prediction: Predicted answer.
        answers: Raw answer of every annotator.
        rule: One of ``RULES``.

    Raises:
        ValueError: If the rule is unknown or there are no answers.
    """
    targets, unanimous = _prepare_answers(answers, rule)
    return _accuracy(_prepare_prediction(prediction, unanimous, rule), targets)


def _prepare_answers(answers: Sequence[str], rule: str) -> tuple[list[str], bool]:
    """Return the annotators' answers in the form to compare, and whether all annotators agree."""
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}, expected one of {', '.join(RULES)}")
    if not answers:
        raise ValueError("a question without answers cannot be scored")
    forms = {answer: answer if rule == "legacy" else clean(answer) for answer in set(answers)}
    unanimous = len(answers) > 1 and len(set(forms.values())) == 1
    if rule == "always" or len(answers) == 1 or (rule == "official" and not unanimous):
        forms = {answer: normalize(text) for answer, text in forms.items()}
    elif rule == "legacy" and not unanimous:
        forms = {answer: remove_punctuation(text) for answer, text in forms.items()}
    return [forms[answer] for answer in answers], unanimous


def _prepare_prediction(prediction: str, unanimous: bool, rule: str) -> str:
    """Return the prediction in the form to compare with the answers."""
    return clean(prediction) if rule == "official" and unanimous else normalize(prediction)


def _accuracy(prediction: str, targets: Sequence[str]) -> float:
    total, matches = len(targets), targets.count(prediction)
    if total == 1:
        return float(matches)
    without_one, with_all = min(1.0, (matches - 1) / 3), min(1.0, matches / 3)
    return _sum([without_one if answer == prediction else with_all for answer in targets]) / total


def _sum(values: Iterable[float]) -> float:
    """Return the sum, added one by one as in the official code, since rounding depends on it.

    From Python 3.12 on, ``sum`` rounds differently.
    """
    return reduce(add, values, 0.0)


def question_accuracies(
    predictions: Mapping[IdT, str],
    questions: Mapping[IdT, VQAAnnotation],
    rule: str = "official",
    *,
    watch: Callable[[Collection[IdT]], Iterable[IdT]] = iter,
) -> dict[IdT, float]:
    """Return the accuracy of the predicted answer to every question, 0 to 1.

    Args:
        predictions: Predicted answer by question id, one for every question.
        questions: Annotations by question id.
        rule: One of ``RULES``.
        watch: Function that goes through the ids, to show progress. Default: nothing is shown.

    Returns:
        Accuracy by question id, in the order of ``questions``.
    """
    return {
        question_id: question_accuracy(predictions[question_id], questions[question_id].answers, rule)
        for question_id in watch(questions.keys())
    }


def oracle_accuracies(
    answers: Iterable[str], questions: Mapping[IdT, VQAAnnotation], rule: str = "official"
) -> dict[IdT, float]:
    """Return the accuracy of the best answer of a vocabulary for every question, an upper bound.

    Args:
        answers: Answers that a model can predict.
        questions: Annotations by question id.
        rule: One of ``RULES``.
    """
    answers = list(answers)
    candidates = {
        unanimous: {_prepare_prediction(answer, unanimous, rule) for answer in answers}
        for unanimous in (False, True)
    }
    best = {}
    for question_id, annotation in questions.items():
        targets, unanimous = _prepare_answers(annotation.answers, rule)
        matching = candidates[unanimous].intersection(targets)
        best[question_id] = max((_accuracy(answer, targets) for answer in matching), default=0.0)
    return best


def vqa_accuracy(
    predictions: Mapping[IdT, str], questions: Mapping[IdT, VQAAnnotation], rule: str = "official"
) -> Percentages:
    """Return the official accuracies in percent, rounded to two decimals as in the official code.

    Args:
        predictions: Predicted answer by question id, one for every question.
        questions: Annotations by question id.
        rule: One of ``RULES``.

    Returns:
        ``overall``, ``per_answer_type`` and ``per_question_type``.
    """
    return accuracy_by_type(question_accuracies(predictions, questions, rule), questions)


def accuracy_by_type(accuracies: Mapping[IdT, float], questions: Mapping[IdT, VQAAnnotation]) -> Percentages:
    """Average accuracies over all questions and over each type.

    Args:
        accuracies: Accuracy by question id, 0 to 1.
        questions: Annotations by question id.

    Returns:
        Percentages as from ``vqa_accuracy``.
    """
    by_answer_type: dict[str, list[float]] = {}
    by_question_type: dict[str, list[float]] = {}
    for question_id, accuracy in accuracies.items():
        annotation = questions[question_id]
        by_answer_type.setdefault(annotation.answer_type, []).append(accuracy)
        by_question_type.setdefault(annotation.question_type, []).append(accuracy)
    return {
        "overall": percent(list(accuracies.values())),
        "per_answer_type": {name: percent(values) for name, values in sorted(by_answer_type.items())},
        "per_question_type": {name: percent(values) for name, values in sorted(by_question_type.items())},
    }


def percent(accuracies: Sequence[float]) -> float:
    """Return the mean in percent, rounded half away from zero to two decimals; 0 if there is no value."""
    if not accuracies:
        return 0.0
    mean = Decimal(100 * _sum(accuracies) / len(accuracies))
    return float(mean.quantize(Decimal("0.01"), ROUND_HALF_UP))
