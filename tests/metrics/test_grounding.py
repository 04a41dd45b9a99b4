"""Grounding scores of the most attended region, of the attention mass and of chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.metrics.grounding import center_inside, grounding

BOXES = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 9, 10], [2, 2, 4, 4]], np.float32)
OBJECTS = np.array([[0, 0, 10, 10]], np.float32)


def test_the_region_with_the_largest_weight_counts() -> None:
    hit, miss = np.array([0.5, 0.3, 0.1, 0.1]), np.array([0.1, 0.8, 0.1, 0.0])
    scores = grounding([(hit, BOXES, OBJECTS), (miss, BOXES, OBJECTS)])
    assert scores.iou_accuracy == scores.pointing_accuracy == 0.5
    assert scores.iou_chance == pytest.approx(2 / 4)
    assert scores.pointing_chance == pytest.approx(3 / 4)
    assert scores.attention_mass == pytest.approx((0.7 + 0.2) / 2)
    assert scores.num_samples == 2


def test_weights_need_not_sum_to_1() -> None:
    weights = np.array([0.5, 0.3, 0.1, 0.1])
    one, other = (grounding([(w, BOXES, OBJECTS)]) for w in (weights, 4 * weights))
    assert other == pytest.approx(one)


def test_scores_without_words_are_zero() -> None:
    assert grounding([]) == (0, 0, 0, 0, 0, 0)


def test_a_small_region_inside_an_object_points_at_it_without_overlapping() -> None:
    weights = np.array([0.0, 0.0, 0.0, 1.0])
    scores = grounding([(weights, BOXES, OBJECTS)])
    assert (scores.iou_accuracy, scores.pointing_accuracy) == (0, 1)


@given(st.integers(1, 6), st.integers(1, 3), st.randoms(use_true_random=False))
def test_uniform_attention_scores_as_chance(regions: int, objects: int, random) -> None:
    def boxes(count: int) -> np.ndarray:
        points = [[sorted(random.sample(range(20), 2)) for _ in "xy"] for _ in range(count)]
        return np.array([[x[0], y[0], x[1], y[1]] for x, y in points], float)

    scores = grounding([(np.full(regions, 1 / regions), boxes(regions), boxes(objects))])
    assert scores.iou_accuracy == pytest.approx(scores.iou_chance)
    assert scores.pointing_accuracy == pytest.approx(scores.pointing_chance)
    assert scores.attention_mass == pytest.approx(scores.pointing_chance)


def test_centers_lie_inside_or_not() -> None:
    assert center_inside(BOXES, OBJECTS).tolist() == [True, False, True, True]
    assert center_inside(BOXES, np.array([[90.0, 90, 99, 99], [54, 54, 56, 56]])).tolist() == [
        False,
        True,
        False,
        False,
    ]
