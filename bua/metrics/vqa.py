"""The official VQA v2 accuracy.

Source: the challenge's evaluation code as of 2021. In words: an answer counts min(1, others who
gave it / 3), averaged over leaving out each annotator. Whether answers are brought to their normal
form first depends on the rule:

``official``
    As of 2021: all annotators' answers and the prediction are normalised, unless the annotators
    all agree; then the raw texts are compared.
``legacy``
    Before 2021: the prediction is always normalised; the annotators' answers stand as they wrote them,
    spaces at the edges included, but lose punctuation where they do not all agree.
``always``
    Everything is always normalised, as several later evaluations do.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import reduce
from operator import add
from typing import NamedTuple, TypeVar

from bua.text.answers import clean, normalize, remove_punctuation

RULES = ("official", "legacy", "always")
#: Of a question: a number, or a text in some data sets.
Id = TypeVar("Id", bound=Hashable)
Percentages = dict[str, float | dict[str, float]]


class VQAAnnotation(NamedTuple):
    """What the annotations say of one question; ``most_frequent`` is VQA's multiple_choice_answer."""

    answers: Sequence[str]
    answer_type: str
    question_type: str
    most_frequent: str


def question_accuracy(prediction: str, answers: Sequence[str], rule: str = "official") -> float:
    """Return the accuracy of one answer, 0 to 1.

    Annotators are told apart by their position, so that answers without ``answer_id`` count rightly,
    and there may be any number of them: the mean over leaving out each is taken as it is for ten. A
    single annotator cannot be left out: then the accuracy is whether the two agree in their normal
    forms, whatever the rule, as soft targets have it.

    Raises:
        ValueError: there is no such rule, or there are no answers.
    """
    given, agree = _given(answers, rule)
    return _agreement(_said(prediction, agree, rule), given)


def _given(answers: Sequence[str], rule: str) -> tuple[list[str], bool]:
    """Return the annotators' answers as they are compared, and whether all wrote the same."""
    if rule not in RULES:
        raise ValueError(f"there is no rule {rule!r}; there is {', '.join(RULES)}")
    if not answers:
        raise ValueError("a question without answers cannot be scored")
    forms = {answer: answer if rule == "legacy" else clean(answer) for answer in set(answers)}
    agree = len(answers) > 1 and len(set(forms.values())) == 1
    if rule == "always" or len(answers) == 1 or (rule == "official" and not agree):
        forms = {answer: normalize(text) for answer, text in forms.items()}
    elif rule == "legacy" and not agree:
        forms = {answer: remove_punctuation(text) for answer, text in forms.items()}
    return [forms[answer] for answer in answers], agree


def _said(prediction: str, agree: bool, rule: str) -> str:
    """Return the prediction as it is compared with answers of annotators who agree or do not."""
    return clean(prediction) if rule == "official" and agree else normalize(prediction)


def _agreement(said: str, given: Sequence[str]) -> float:
    total, same = len(given), given.count(said)
    if total == 1:
        return float(same)
    without_one, with_all = min(1.0, (same - 1) / 3), min(1.0, same / 3)
    return _added([without_one if answer == said else with_all for answer in given]) / total


def _added(values: Iterable[float]) -> float:
    """Return a sum, added one by one as in the official code: the last digit of a mean depends on it.

    From Python 3.12 on ``sum`` rounds otherwise.
    """
    return reduce(add, values, 0.0)


def question_accuracies(
    predictions: Mapping[Id, str], questions: Mapping[Id, VQAAnnotation], rule: str = "official"
) -> dict[Id, float]:
    """Return the accuracy of the answer to every question, 0 to 1, in the order of the questions."""
    return {i: question_accuracy(predictions[i], asked.answers, rule) for i, asked in questions.items()}


def best_accuracies(
    answers: Iterable[str], questions: Mapping[Id, VQAAnnotation], rule: str = "official"
) -> dict[Id, float]:
    """Return the accuracy that the best answer of a list has on every question: the oracle's bound.

    Args:
        answers: as a model writes them.
        questions: the annotations, by id.
        rule: one of ``RULES``.
    """
    answers = list(answers)
    forms = {agree: {_said(answer, agree, rule) for answer in answers} for agree in (False, True)}
    best = {}
    for question_id, asked in questions.items():
        given, agree = _given(asked.answers, rule)
        best[question_id] = max((_agreement(a, given) for a in forms[agree].intersection(given)), default=0.0)
    return best


def vqa_accuracy(
    predictions: Mapping[Id, str], questions: Mapping[Id, VQAAnnotation], rule: str = "official"
) -> Percentages:
    """Return percentages, rounded to two places as the official code does.

    Args:
        predictions: an answer for every question, by id.
        questions: the annotations, by id.
        rule: one of ``RULES``.

    Returns:
        ``overall``, ``per_answer_type`` and ``per_question_type``.
    """
    return by_type(question_accuracies(predictions, questions, rule), questions)


def by_type(accuracies: Mapping[Id, float], questions: Mapping[Id, VQAAnnotation]) -> Percentages:
    """Average the accuracies of questions, overall and of each type, as ``vqa_accuracy`` returns them."""
    by_answer: dict[str, list[float]] = {}
    by_question: dict[str, list[float]] = {}
    for question_id, accuracy in accuracies.items():
        asked = questions[question_id]
        by_answer.setdefault(asked.answer_type, []).append(accuracy)
        by_question.setdefault(asked.question_type, []).append(accuracy)
    return {
        "overall": percent(list(accuracies.values())),
        "per_answer_type": {name: percent(values) for name, values in sorted(by_answer.items())},
        "per_question_type": {name: percent(values) for name, values in sorted(by_question.items())},
    }


def percent(accuracies: Sequence[float]) -> float:
    """Return the mean as a percentage with two decimals, halves away from zero; 0 for none."""
    if not accuracies:
        return 0.0
    mean = Decimal(100 * _added(accuracies) / len(accuracies))
    return float(mean.quantize(Decimal("0.01"), ROUND_HALF_UP))
