"""Grounding: the region most looked at against what is named, and against chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.metrics.grounding import grounding, inside

BOXES = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 9, 10], [2, 2, 4, 4]], np.float32)
NAMED = np.array([[0, 0, 10, 10]], np.float32)


def test_the_largest_weight_is_looked_at() -> None:
    hit, miss = np.array([0.5, 0.3, 0.1, 0.1]), np.array([0.1, 0.8, 0.1, 0.0])
    found = grounding([(hit, BOXES, NAMED), (miss, BOXES, NAMED)])
    assert found.share == found.pointed == 0.5
    assert found.chance == pytest.approx(2 / 4)
    assert found.pointed_chance == pytest.approx(3 / 4)
    assert found.mass == pytest.approx((0.7 + 0.2) / 2)
    assert found.looks == 2


def test_no_looks_are_no_share() -> None:
    assert grounding([]) == (0, 0, 0, 0, 0, 0)


def test_a_small_region_inside_is_pointed_at_without_overlapping() -> None:
    only = np.array([0.0, 0.0, 0.0, 1.0])
    found = grounding([(only, BOXES, NAMED)])
    assert (found.share, found.pointed) == (0, 1)


@given(st.integers(1, 6), st.integers(1, 3), st.randoms(use_true_random=False))
def test_equal_weights_score_what_chance_does(regions: int, named: int, random) -> None:
    def boxes(count: int) -> np.ndarray:
        points = [[sorted(random.sample(range(20), 2)) for _ in "xy"] for _ in range(count)]
        return np.array([[x[0], y[0], x[1], y[1]] for x, y in points], float)

    found = grounding([(np.full(regions, 1 / regions), boxes(regions), boxes(named))])
    assert found.share == pytest.approx(found.chance)
    assert found.pointed == pytest.approx(found.pointed_chance)
    assert found.mass == pytest.approx(found.pointed_chance)


def test_the_middle_of_a_region_lies_inside_or_not() -> None:
    assert inside(BOXES, NAMED).tolist() == [True, False, True, True]
    assert inside(BOXES, np.array([[90.0, 90, 99, 99], [54, 54, 56, 56]])).tolist() == [
        False,
        True,
        False,
        False,
    ]
