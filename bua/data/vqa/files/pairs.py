"""Which questions of a training belong together: complementary pairs of VQA v2."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bua.data.pairs import read_pairs
from bua.data.vqa.files.entry import QuestionId
from bua.errors import InputError


def paired_places(path: Path | str, ids: Sequence[QuestionId]) -> tuple[NDArray[np.int64], str]:
    """Read which questions belong together.

    A question that is in several pairs stays with the first.

    Args:
        path: the file of pairs.
        ids: of the questions.

    Returns:
        The places (P, 2) of both questions of each pair in ``ids``, and a line of counts.

    Raises:
        InputError: the file is broken, or no pair is of two of the questions.
    """
    place = {question_id: n for n, question_id in enumerate(ids)}
    pairs: list[tuple[int, int]] = []
    taken, strange, again = set[int](), 0, 0
    for pair in read_pairs(path):
        first, second = place.get(pair[0]), place.get(pair[1])
        if first is None or second is None:
            strange += 1
        elif first == second or {first, second} & taken:
            again += 1
        else:
            taken |= {first, second}
            pairs.append((first, second))
    if not pairs:
        raise InputError(f"{path}: none of its {strange + again:,} pairs is of two questions to train on")
    counts = (
        f"{path}: {len(pairs):,} pairs stay together; {len(ids) - 2 * len(pairs):,} questions are in none; "
        f"passed over are {strange:,} pairs with a question that is not trained on and {again:,} with one "
        "that is in a pair already"
    )
    return np.array(pairs, np.int64), counts
