"""Box arithmetic in both conventions against the formulas written out for single boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.detectors.boxes import BoxConvention, just_below
from tests.helpers.detectors import slow_decode, slow_nms

CONVENTIONS = [BoxConvention.CAFFE, BoxConvention.MODERN]
seeds = st.integers(0, 10**6)


def random_boxes(seed: int, count: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 60, (count, 2))], 1)
    return torch.from_numpy(boxes.round() if seed % 2 else boxes).float()


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.name)
@settings(max_examples=60, deadline=None)
@given(
    seed=seeds, limit=st.sampled_from([None, 0.3]), weights=st.sampled_from([(1, 1, 1, 1), (10, 10, 5, 5)])
)
def test_decode_equals_the_formula(convention, seed, limit, weights) -> None:
    boxes = random_boxes(seed, 7)
    deltas = torch.from_numpy(np.random.default_rng(seed + 1).normal(0, 0.8, (7, 4))).float()
    ours = convention.decode(boxes, deltas, weights=weights, max_log_scale=limit)
    rows = zip(boxes.tolist(), deltas.tolist(), strict=True)
    slow = [slow_decode(b, d, convention.offset, weights, limit) for b, d in rows]
    np.testing.assert_allclose(ours, slow, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.name)
@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_encode_returns_the_deltas_that_decode_to_the_target(convention, seed) -> None:
    boxes, targets = random_boxes(seed, 6), random_boxes(seed + 9, 6)
    deltas = convention.encode(boxes, targets, weights=(10, 10, 5, 5))
    decoded = convention.decode(boxes, deltas, weights=(10, 10, 5, 5))
    # In both conventions decoding puts the second corner half a width beyond the center.
    decoded[:, 2:] -= convention.offset
    np.testing.assert_allclose(decoded, targets, rtol=1e-3, atol=2e-2)


def test_clipping_ends_at_the_last_pixel_for_caffe_and_at_the_border_otherwise() -> None:
    box = torch.tensor([[-5.0, 3, 900, 700]])
    assert BoxConvention.CAFFE.clip(box, (480, 640)).tolist() == [[0, 3, 639, 479]]
    assert BoxConvention.MODERN.clip(box, (480, 640)).tolist() == [[0, 3, 640, 480]]


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.name)
@settings(max_examples=80, deadline=None)
@given(seed=seeds, count=st.integers(0, 20), threshold=st.sampled_from([0.25, 0.3, 0.5, 0.7]))
def test_suppression_equals_the_loop_over_boxes(convention, seed, count, threshold) -> None:
    boxes = random_boxes(seed, count)
    scores = torch.from_numpy(np.random.default_rng(seed).permutation(count)).float()
    slow = slow_nms(
        boxes.numpy(), scores.tolist(), threshold, np.float32(convention.offset), convention.inclusive
    )
    assert convention.nms(boxes, scores, threshold).tolist() == slow


def test_an_overlap_equal_to_the_threshold_suppresses_only_in_caffe() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 4]])  # caffe: 10 x 10 and 10 x 5
    scores = torch.tensor([1.0, 0.5])
    assert BoxConvention.CAFFE.nms(boxes, scores, 0.5).tolist() == [0]
    halves = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    assert BoxConvention.MODERN.nms(halves, scores, 0.5).tolist() == [0, 1]


@given(st.floats(0.01, 0.99))
def test_the_number_just_below_a_threshold_is_the_last_one_below_it(threshold) -> None:
    below = just_below(threshold)
    assert np.float32(below) == below < threshold
    assert float(np.nextafter(np.float32(below), np.float32(2))) >= threshold


def test_unknown_conventions_are_rejected() -> None:
    with pytest.raises(ValueError, match="caffe or modern, got tensorflow"):
        BoxConvention.from_name("tensorflow")
