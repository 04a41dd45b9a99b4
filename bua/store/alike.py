"""Telling whether two images hold the same."""

from typing import Any

import numpy as np

from bua.structures.regions import Regions


def same_regions(a: Regions, b: Regions) -> bool:
    """Tell whether two images hold the same numbers, features compared in the coarser of their types."""
    first, second = a.arrays(), b.arrays()
    if a.size != b.size or first.keys() != second.keys():
        return False
    kind: Any = min(a.features.dtype, b.features.dtype, key=lambda dtype: dtype.itemsize)
    with np.errstate(over="ignore"):
        first["features"], second["features"] = a.features.astype(kind), b.features.astype(kind)
    return all(np.array_equal(first[name], second[name]) for name in first)
