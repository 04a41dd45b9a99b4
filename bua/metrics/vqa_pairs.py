"""Accuracy on the balanced pairs of VQA v2: one question about two pictures, with different answers.

Source: Zhang, Hare, Prügel-Bennett, "Learning to Count Objects in Natural Images for Visual Question
Answering" (ICLR 2018), and its evaluation code. A pair counts only if both of its answers have an
accuracy of 1: who answers from the words of the question alone gets at most one of them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bua.metrics.vqa import Id, VQAAnnotation, percent


class PairAccuracy(NamedTuple):
    """How many pairs were answered rightly.

    Attributes:
        accuracy: percentage of pairs with two right answers; None where there is no pair.
        per_answer_type: the same of the pairs whose two questions are both of that type.
        pairs: how many were counted.
        incomplete: pairs left out because one of their questions was not scored, or both.
        repeated: pairs left out because they came before, or are of one question and itself.
    """

    accuracy: float | None
    per_answer_type: dict[str, float]
    pairs: int
    incomplete: int
    repeated: int


def pair_accuracy(
    accuracies: Mapping[Id, float], questions: Mapping[Id, VQAAnnotation], pairs: Sequence[tuple[Id, Id]]
) -> PairAccuracy:
    """Return the share of pairs whose two questions are both answered rightly, in percent.

    Args:
        accuracies: of every question that was scored, 0 to 1.
        questions: the annotations of these questions.
        pairs: ids of two questions each.
    """
    right: list[float] = []
    by_answer: dict[str, list[float]] = {}
    distinct = {frozenset(pair): pair for pair in pairs if pair[0] != pair[1]}
    for a, b in distinct.values():
        if a in accuracies and b in accuracies:
            right.append(float(accuracies[a] == accuracies[b] == 1))
            if questions[a].answer_type == questions[b].answer_type:
                by_answer.setdefault(questions[a].answer_type, []).append(right[-1])
    return PairAccuracy(
        accuracy=percent(right) if right else None,
        per_answer_type={name: percent(values) for name, values in sorted(by_answer.items())},
        pairs=len(right),
        incomplete=len(distinct) - len(right),
        repeated=len(pairs) - len(distinct),
    )
