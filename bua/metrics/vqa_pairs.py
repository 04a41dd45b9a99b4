"""Accuracy on the balanced pairs of VQA v2: the same question about two images, with different answers.

Source: Zhang, Hare, Prügel-Bennett, "Learning to Count Objects in Natural Images for Visual Question
Answering" (ICLR 2018), and its evaluation code. A pair is correct only if both of its answers have an
accuracy of 1, so a model that ignores the image gets at most one of them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bua.metrics.vqa import IdT, percent
from bua.structures.annotations import VQAAnnotation


class PairAccuracy(NamedTuple):
    """Accuracy on balanced pairs.

    Attributes:
        accuracy: Percentage of pairs with two correct answers; ``None`` if there is no pair.
        per_answer_type: The same for the pairs whose questions both have that answer type.
        pairs: Number of evaluated pairs.
        incomplete: Number of pairs left out because a question of the pair was not scored.
        repeated: Number of pairs left out because they are duplicates, or pair a question with itself.
    """

    accuracy: float | None
    per_answer_type: dict[str, float]
    pairs: int
    incomplete: int
    repeated: int


def pair_accuracy(
    accuracies: Mapping[IdT, float],
    questions: Mapping[IdT, VQAAnnotation],
    pairs: Sequence[tuple[IdT, IdT]],
) -> PairAccuracy:
    """Return the percentage of pairs whose two questions are both answered correctly.

    Args:
        accuracies: Accuracy of every scored question, 0 to 1.
        questions: Annotations of these questions.
        pairs: Pairs of question ids.
    """
    correct: list[float] = []
    by_answer_type: dict[str, list[float]] = {}
    distinct = {frozenset(pair): pair for pair in pairs if pair[0] != pair[1]}
    for a, b in distinct.values():
        if a in accuracies and b in accuracies:
            correct.append(float(accuracies[a] == accuracies[b] == 1))
            if questions[a].answer_type == questions[b].answer_type:
                by_answer_type.setdefault(questions[a].answer_type, []).append(correct[-1])
    return PairAccuracy(
        accuracy=percent(correct) if correct else None,
        per_answer_type={name: percent(values) for name, values in sorted(by_answer_type.items())},
        pairs=len(correct),
        incomplete=len(distinct) - len(correct),
        repeated=len(pairs) - len(distinct),
    )
