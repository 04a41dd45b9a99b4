"""The selection rule against the loop over all classes that it stands for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.regions import select
from bua.regions.select import Selection
from tests.parity import load


def naive(boxes, probabilities, rule: Selection) -> list[int]:
    """Anderson et al. 2018 as released: one suppression a class over all boxes."""
    n, classes = probabilities.shape
    worth = np.zeros(n, np.float32)

    def area(b):
        return (b[2] - b[0] + rule.pixel) * (b[3] - b[1] + rule.pixel)

    def overlap(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0]) + rule.pixel
        h = min(a[3], b[3]) - max(a[1], b[1]) + rule.pixel
        inside = max(w, np.float32(0)) * max(h, np.float32(0))
        return inside / (area(a) + area(b) - inside)

    for c in range(1, classes):
        order = sorted(range(n), key=lambda i: -probabilities[i, c])
        kept: list[int] = []
        for i in order:
            if all(not overlap(boxes[k], boxes[i]) >= rule.nms_iou for k in kept):
                kept.append(i)
        for i in kept:
            worth[i] = max(worth[i], probabilities[i, c])
    found = [i for i in range(n) if worth[i] >= rule.threshold]
    if len(found) < rule.min_regions or len(found) > rule.max_regions:
        count = rule.min_regions if len(found) < rule.min_regions else rule.max_regions
        found = sorted(range(n), key=lambda i: -worth[i])[:count]
    return found


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 25),
    classes=st.integers(2, 9),
    sharp=st.sampled_from([0.3, 2.0, 6.0]),
    low=st.integers(1, 12),
    more=st.integers(0, 12),
    threshold=st.sampled_from([0.05, 0.2, 0.7]),
    pixel=st.sampled_from([0, 1]),
    dense=st.booleans(),
)
def test_sparse_and_dense_form_equal_the_loop_over_classes(
    seed, n, classes, sharp, low, more, threshold, pixel, dense
) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (n, 2))], 1).astype(np.float32)
    logits = torch.from_numpy(rng.standard_normal((n, classes)) * sharp).float()
    probabilities = logits.softmax(1)
    rule = Selection(min_regions=low, max_regions=low + more, threshold=threshold, nms_iou=0.3, pixel=pixel)
    before, select.SPARSE_PAIRS = select.SPARSE_PAIRS, -1 if dense else select.SPARSE_PAIRS
    try:
        kept, worth = rule(torch.from_numpy(boxes), probabilities)
    finally:
        select.SPARSE_PAIRS = before
    assert kept.tolist() == naive(boxes, probabilities.numpy(), rule)
    assert len(worth) == len(kept)


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("dense", [False, True])
def test_parity_of_selected_regions(case: int, dense: bool, monkeypatch) -> None:
    file = load("region_selection.npz")
    if dense:
        monkeypatch.setattr(select, "SPARSE_PAIRS", -1)
    rule = Selection(
        min_regions=int(file[f"{case}/min_boxes"]),
        max_regions=int(file[f"{case}/max_boxes"]),
        threshold=float(file[f"{case}/threshold"]),
        nms_iou=float(file[f"{case}/nms_iou"]),
        pixel=1,
    )
    boxes, probabilities = (torch.from_numpy(file[f"{case}/{k}"]) for k in ("boxes", "class_probabilities"))
    kept, worth = rule(boxes, probabilities)
    assert kept.tolist() == file[f"{case}/selected"].tolist()
    np.testing.assert_allclose(worth, file[f"{case}/selected_score"], rtol=1e-5)


def test_identical_boxes_without_any_confidence_still_give_the_minimum() -> None:
    rule = Selection(min_regions=4, max_regions=9, threshold=0.2, nms_iou=0.3, pixel=1)
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(6, 1)
    background = torch.tensor([[1.0, 0, 0]]).repeat(6, 1)
    assert len(rule(boxes, background)[0]) == 4
    assert len(rule(boxes[:2], background[:2])[0]) == 2


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"min_regions": 5, "max_regions": 4}, "5 and 4"),
        ({"min_regions": 0, "max_regions": 4}, "0 and 4"),
        ({"threshold": 0.0}, r"threshold must be in \(0, 1\]"),
    ],
)
def test_impossible_numbers_are_refused(numbers, message) -> None:
    good = {"min_regions": 1, "max_regions": 4, "threshold": 0.2, "nms_iou": 0.3, "pixel": 0}
    with pytest.raises(ValueError, match=message):
        Selection(**(good | numbers))
