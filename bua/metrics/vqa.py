"""The official VQA v2 accuracy.

Source: the challenge's evaluation code as of 2021. In words: an answer counts min(1, others who
gave it / 3), averaged over leaving out each annotator. Whether answers are brought to their normal
form first depends on the rule:

``official``
    As of 2021: all annotators' answers and the prediction are normalised, unless the annotators
    all agree; then the raw texts are compared.
``legacy``
    Before 2021: the prediction is always normalised, the annotators' answers only lose
    punctuation, and only where they do not all agree.
``always``
    Everything is always normalised, as several later evaluations do.
"""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from bua.text.answers import clean, normalize, remove_punctuation

RULES = ("official", "legacy", "always")


class Asked(NamedTuple):
    """What the annotations say of one question; ``most_frequent`` is VQA's multiple_choice_answer."""

    answers: Sequence[str]
    answer_type: str
    question_type: str
    most_frequent: str


def question_accuracy(prediction: str, answers: Sequence[str], rule: str = "official") -> float:
    """Return the accuracy of one answer, 0 to 1.

    Annotators are told apart by position, so answers without ``answer_id`` are counted rightly. A
    single annotator cannot be left out: then the accuracy is whether the two agree.

    Raises:
        ValueError: there is no such rule, or there are no answers.
    """
    if rule not in RULES:
        raise ValueError(f"there is no rule {rule!r}; there is {', '.join(RULES)}")
    if not answers:
        raise ValueError("a question without answers cannot be scored")
    given = [clean(answer) for answer in answers]
    said = clean(prediction)
    agree = len(set(given)) == 1
    if rule == "always" or (rule == "official" and not agree):
        given, said = [normalize(answer) for answer in given], normalize(said)
    elif rule == "legacy":
        said = normalize(said)
        if not agree:
            given = [remove_punctuation(answer) for answer in given]
    total, same = len(given), given.count(said)
    if total == 1:
        return float(same)
    # Summed annotator by annotator, as the official code does: the last digit of a mean depends on it.
    return sum(min(1.0, (same - (answer == said)) / 3) for answer in given) / total


def vqa_accuracy(
    predictions: Mapping[int, str], questions: Mapping[int, Asked], rule: str = "official"
) -> dict[str, float | dict[str, float]]:
    """Return percentages, rounded to two places as the official code does.

    Args:
        predictions: an answer for every question, by id.
        questions: the annotations, by id.
        rule: one of ``RULES``.

    Returns:
        ``overall``, ``per_answer_type`` and ``per_question_type``.
    """
    by_answer: dict[str, list[float]] = {}
    by_question: dict[str, list[float]] = {}
    every = []
    for question_id, asked in questions.items():
        accuracy = question_accuracy(predictions[question_id], asked.answers, rule)
        every.append(accuracy)
        by_answer.setdefault(asked.answer_type, []).append(accuracy)
        by_question.setdefault(asked.question_type, []).append(accuracy)
    return {
        "overall": percent(every),
        "per_answer_type": {name: percent(values) for name, values in sorted(by_answer.items())},
        "per_question_type": {name: percent(values) for name, values in sorted(by_question.items())},
    }


def percent(accuracies: Sequence[float]) -> float:
    """Return the mean as a percentage with two decimals, halves away from zero; 0 for none."""
    if not accuracies:
        return 0.0
    mean = Decimal(100 * sum(accuracies) / len(accuracies))
    return float(mean.quantize(Decimal("0.01"), ROUND_HALF_UP))
