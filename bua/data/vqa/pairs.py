"""VQA v2's complementary pairs: the same question about two images, with different answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.files import read_json
from bua.io.schema import Id, validate
from bua.structures.annotations import QuestionId


def read_pairs(path: Path | str) -> list[tuple[QuestionId, QuestionId]]:
    """Read pairs of question ids, as in ``v2_mscoco_val2014_complementary_pairs.json``.

    Raises:
        InputError: If it is not a list of pairs of ids.
    """
    content = read_json(path)
    validate(content, list[tuple[Id, Id]], path, "not a list of pairs of question ids")
    if not content:
        raise InputError(f"{path}: holds no pairs of question ids")
    return [(first, second) for first, second in content]


def pair_indices(path: Path | str, ids: Sequence[QuestionId]) -> tuple[NDArray[np.int64], str]:
    """Read which training questions form pairs.

    A question that is in several pairs stays with the first.

    Args:
        path: File of pairs.
        ids: Ids of the questions to train on.

    Returns:
        Indices of both questions of each pair, shape (P, 2), and a line of counts.

    Raises:
        InputError: If the file is broken, or no pair has both of its questions among ``ids``.
    """
    index = {question_id: n for n, question_id in enumerate(ids)}
    pairs: list[tuple[int, int]] = []
    paired, num_other, num_repeated = set[int](), 0, 0
    for pair in read_pairs(path):
        first, second = index.get(pair[0]), index.get(pair[1])
        if first is None or second is None:
            num_other += 1
        elif first == second or {first, second} & paired:
            num_repeated += 1
        else:
            paired |= {first, second}
            pairs.append((first, second))
    if not pairs:
        raise InputError(
            f"{path}: none of its {num_other + num_repeated:,} pairs has both questions in the training data"
        )
    counts = (
        f"{path}: {len(pairs):,} pairs stay together; {len(ids) - 2 * len(pairs):,} questions are in none; "
        f"{num_other:,} pairs with a question outside the training data and {num_repeated:,} with a question "
        "that is already paired are ignored"
    )
    return np.array(pairs, np.int64), counts
