"""Regions are equal if their sizes and arrays are."""

from dataclasses import replace

import numpy as np
import pytest

from bua.structures.regions import Regions

REGIONS = Regions(
    features=np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4),
    boxes=np.array([[0, 0, 5, 5], [1, 2, 3, 4], [2, 2, 9, 9]], np.float32),
    size=(10, 20),
    class_id=np.array([4, 0, 2], np.int32),
)
CHANGES = {
    "features": REGIONS.features + np.float32(0.1),
    "boxes": REGIONS.boxes[::-1],
    "size": (20, 10),
    "class_id": None,
    "class_score": np.ones(3, np.float32),
}


def test_a_copy_is_equal() -> None:
    assert REGIONS.equals(replace(REGIONS, features=REGIONS.features.copy()))


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_any_difference_makes_regions_unequal(name: str) -> None:
    changed = replace(REGIONS, **{name: CHANGES[name]})
    assert not REGIONS.equals(changed)
    assert not changed.equals(REGIONS)


def test_features_are_compared_in_the_coarser_type() -> None:
    half = replace(REGIONS, features=REGIONS.features.astype(np.float16))
    assert REGIONS.equals(half)
    assert half.equals(REGIONS)
    assert not half.equals(replace(half, features=half.features.astype(np.float32) + np.float32(0.1)))
