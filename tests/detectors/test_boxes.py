"""Box arithmetic in both conventions against formulas written out number by number."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.detectors.boxes import BoxConvention, just_below

CONVENTIONS = [BoxConvention.CAFFE, BoxConvention.MODERN]
seeds = st.integers(0, 10**6)


def some_boxes(seed: int, count: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 60, (count, 2))], 1)
    return torch.from_numpy(boxes.round() if seed % 2 else boxes).float()


def slow_decode(box, delta, pixel, weights, limit):
    x1, y1, x2, y2 = box
    dx, dy, dw, dh = (d / w for d, w in zip(delta, weights, strict=True))
    if limit is not None:
        dw, dh = min(dw, limit), min(dh, limit)
    width, height = x2 - x1 + pixel, y2 - y1 + pixel
    x, y = x1 + width / 2 + dx * width, y1 + height / 2 + dy * height
    w, h = math.exp(dw) * width, math.exp(dh) * height
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def slow_nms(boxes, scores, threshold, pixel, inclusive):
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    for i in order:
        for k in kept:
            a, b = boxes[k], boxes[i]
            w = max(np.float32(0), min(a[2], b[2]) - max(a[0], b[0]) + pixel)
            h = max(np.float32(0), min(a[3], b[3]) - max(a[1], b[1]) + pixel)
            both = sum((c[2] - c[0] + pixel) * (c[3] - c[1] + pixel) for c in (a, b))
            # single precision, compared with a threshold of double precision, as in C
            overlap = float(w * h / (both - w * h))
            if overlap > threshold or (inclusive and overlap >= threshold):
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.name)
@settings(max_examples=60, deadline=None)
@given(
    seed=seeds, limit=st.sampled_from([None, 0.3]), weights=st.sampled_from([(1, 1, 1, 1), (10, 10, 5, 5)])
)
def test_decode_equals_the_formula(convention, seed, limit, weights) -> None:
    boxes = some_boxes(seed, 7)
    deltas = torch.from_numpy(np.random.default_rng(seed + 1).normal(0, 0.8, (7, 4))).float()
    ours = convention.decode(boxes, deltas, weights=weights, limit=limit)
    rows = zip(boxes.tolist(), deltas.tolist(), strict=True)
    slow = [slow_decode(b, d, convention.pixel, weights, limit) for b, d in rows]
    np.testing.assert_allclose(ours, slow, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.name)
@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_encode_finds_the_deltas_that_decode_to_the_wanted_box(convention, seed) -> None:
    boxes, wanted = some_boxes(seed, 6), some_boxes(seed + 9, 6)
    deltas = convention.encode(boxes, wanted, weights=(10, 10, 5, 5))
    again = convention.decode(boxes, deltas, weights=(10, 10, 5, 5))
    # both conventions put the far corner where the centre and half the width say
    again[:, 2:] -= convention.pixel
    np.testing.assert_allclose(again, wanted, rtol=1e-3, atol=2e-2)


def test_clipping_ends_at_the_last_pixel_for_caffe_and_at_the_border_otherwise() -> None:
    box = torch.tensor([[-5.0, 3, 900, 700]])
    assert BoxConvention.CAFFE.clip(box, (480, 640)).tolist() == [[0, 3, 639, 479]]
    assert BoxConvention.MODERN.clip(box, (480, 640)).tolist() == [[0, 3, 640, 480]]


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.name)
@settings(max_examples=80, deadline=None)
@given(seed=seeds, count=st.integers(0, 20), threshold=st.sampled_from([0.25, 0.3, 0.5, 0.7]))
def test_suppression_equals_the_loop_over_boxes(convention, seed, count, threshold) -> None:
    boxes = some_boxes(seed, count)
    scores = torch.from_numpy(np.random.default_rng(seed).permutation(count)).float()
    slow = slow_nms(
        boxes.numpy(), scores.tolist(), threshold, np.float32(convention.pixel), convention.inclusive
    )
    assert convention.nms(boxes, scores, threshold).tolist() == slow


def test_an_overlap_equal_to_the_threshold_suppresses_only_in_caffe() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 4]])  # caffe: 10 x 10 and 10 x 5
    scores = torch.tensor([1.0, 0.5])
    assert BoxConvention.CAFFE.nms(boxes, scores, 0.5).tolist() == [0]
    halves = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    assert BoxConvention.MODERN.nms(halves, scores, 0.5).tolist() == [0, 1]


@given(st.floats(0.01, 0.99))
def test_above_the_number_just_below_a_threshold_means_at_least_the_threshold(threshold) -> None:
    below = just_below(threshold)
    assert np.float32(below) == below < threshold
    assert float(np.nextafter(np.float32(below), np.float32(2))) >= threshold


def test_unknown_conventions_are_refused() -> None:
    with pytest.raises(ValueError, match="caffe or modern, not tensorflow"):
        BoxConvention.named("tensorflow")
