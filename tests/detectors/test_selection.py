"""The selection rule against the loop over all classes that it stands for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.detectors import selection
from bua.detectors.boxes import BoxConvention
from bua.detectors.proposals import BoxRegression, Proposals, postprocess_detections
from bua.detectors.resize import Resize
from bua.detectors.selection import ArgmaxSelection, ClassAgnosticSelection, Selection
from bua.engine.instantiate import instantiate
from tests.helpers.detectors import slow_nms
from tests.helpers.parity import load


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
    before, selection.SPARSE_PAIRS = selection.SPARSE_PAIRS, -1 if dense else selection.SPARSE_PAIRS
    try:
        kept, worth = rule(torch.from_numpy(boxes), probabilities)
    finally:
        selection.SPARSE_PAIRS = before
    assert kept.tolist() == naive(boxes, probabilities.numpy(), rule)
    assert len(worth) == len(kept)


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("dense", [False, True])
def test_parity_of_selected_regions(case: int, dense: bool, monkeypatch) -> None:
    file = load("region_selection.npz")
    if dense:
        monkeypatch.setattr(selection, "SPARSE_PAIRS", -1)
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


def proposals(seed: int, n: int, classes: int) -> Proposals:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (n, 2))], 1).astype(np.float32)
    geometry = Resize(side=100, longest=100, rule="caffe").geometry(
        50, 50
    )  # twice as large as the photograph
    return Proposals(
        boxes=torch.from_numpy(boxes),
        features=torch.zeros(n, 2),
        probabilities=torch.from_numpy(rng.standard_normal((n, classes)) * 3).float().softmax(1),
        deltas=torch.from_numpy(rng.normal(0, 0.2, (n, classes, 4))).float(),
        attributes=None,
        regression=BoxRegression((1.0, 1.0, 1.0, 1.0), None, BoxConvention.MODERN, geometry),
    )


def suppressed(boxes, worth, iou: float) -> list[int]:
    return slow_nms(boxes.numpy(), worth.tolist(), iou, np.float32(0), False)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, 6), st.integers(0, 8))
def test_class_agnostic_selection_is_one_suppression_by_the_best_class(seed, n, low, more) -> None:
    found = proposals(seed, n, 5)
    rule = ClassAgnosticSelection(min_regions=low, max_regions=low + more, threshold=0.5, nms_iou=0.5)
    worth = found.probabilities[:, 1:].amax(1)
    slow = suppressed(found.original_boxes, worth, 0.5)
    enough = sum(float(worth[k]) >= 0.5 for k in slow)
    kept, boxes = rule.select(found)
    assert kept.tolist() == slow[: min(max(enough, low), low + more)]
    assert torch.equal(boxes, found.original_boxes[kept])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, 12))
def test_argmax_selection_loosens_suppression_of_regressed_boxes_until_enough_are_left(
    seed, n, count
) -> None:
    found = proposals(seed, n, 5)
    worth, label = found.probabilities[:, 1:].max(1)
    boxes = found.decode_boxes(torch.arange(n), label + 1)
    slow: list[int] = []
    for iou in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        slow = suppressed(boxes, worth, iou)
        if len(slow) >= count:
            break
    kept, selected = ArgmaxSelection(regions=count).select(found)
    assert kept.tolist() == slow[:count]
    assert torch.equal(selected, boxes[kept])
    assert boxes.max() <= 50  # of the photograph, not of the resized image


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 20),
    threshold=st.sampled_from([0.0, 0.05, 0.3]),
    limit=st.sampled_from([3, 10, 1000]),
)
def test_detections_equal_the_loop_over_classes(seed, n, threshold, limit) -> None:
    found = proposals(seed, n, 4)
    slow = []
    for c in range(1, 4):
        rows = (found.probabilities[:, c] >= threshold).nonzero().squeeze(1)
        boxes = found.decode_boxes(rows, torch.full_like(rows, c))
        sound = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero().squeeze(1)
        rows, boxes = rows[sound], boxes[sound]
        for k in suppressed(boxes, found.probabilities[rows, c], 0.5):
            slow.append((float(found.probabilities[rows[k], c]), c, int(rows[k])))
    slow = sorted(slow, key=lambda d: -d[0])[:limit]
    ours = postprocess_detections(found, score_threshold=threshold, nms_iou=0.5, max_detections=limit)
    assert [(c, i) for _, c, i in slow] == list(zip(ours.labels.tolist(), ours.index.tolist(), strict=True))
    assert ours.scores.tolist() == [score for score, *_ in slow]


@pytest.mark.parametrize(
    "rule",
    [
        Selection(min_regions=1, max_regions=4, threshold=0.2, nms_iou=0.3, pixel=0),
        ClassAgnosticSelection(min_regions=1, max_regions=4, threshold=0.2, nms_iou=0.3),
        ArgmaxSelection(regions=3),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_a_rule_can_be_built_again_from_its_configuration(rule) -> None:
    assert instantiate(rule.configuration()) == rule
