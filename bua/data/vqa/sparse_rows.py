"""Rows of a sparse matrix.

Shapes: B rows, M numbers in all of them, C columns.
"""

from array import array
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


class SparseEntries(NamedTuple):
    """The numbers of some rows in coordinate format.

    Attributes:
        row: Row of each number, shape (M,).
        column: Column of each number, shape (M,).
        value: The numbers, shape (M,).
    """

    row: NDArray[np.int64]
    column: NDArray[np.int32]
    value: NDArray[np.float64]


class SparseRows:
    """A sparse matrix that stores only the given values.

    Args:
        rows: Numbers of each row by column.
    """

    def __init__(self, rows: Iterable[Mapping[int, float]]) -> None:
        columns, values, ends = array("i"), array("d"), array("q", [0])
        for row in rows:
            columns.extend(row)
            values.extend(row.values())
            ends.append(len(columns))
        self._columns = np.array(columns, np.int32)
        self._values = np.array(values, np.float64)
        self._ends = np.array(ends, np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def counts(self) -> NDArray[np.int64]:
        """Return how many numbers each row has, shape (len(self),)."""
        counts: NDArray[np.int64] = np.diff(self._ends)
        return counts

    def entries(self, rows: NDArray[np.int64]) -> SparseEntries:
        """Return the values of some rows, which are renumbered in the given order."""
        starts = self._ends[rows]
        counts = self._ends[rows + 1] - starts
        before = np.cumsum(counts) - counts
        at = np.arange(counts.sum()) + np.repeat(starts - before, counts)
        return SparseEntries(np.repeat(np.arange(len(rows)), counts), self._columns[at], self._values[at])

    def dense(self, rows: NDArray[np.int64], columns: int) -> Float[Tensor, "B C"]:
        """Return some rows as a dense matrix with ``columns`` columns and zeros elsewhere."""
        row, column, value = self.entries(rows)
        dense = torch.zeros(len(rows), columns)
        dense[torch.from_numpy(row), torch.from_numpy(column).long()] = torch.from_numpy(value).float()
        return dense
