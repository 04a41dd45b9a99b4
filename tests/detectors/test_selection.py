"""Selection rules against loops over all classes, and detections against the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.detectors import selection
from bua.detectors.boxes import BoxConvention
from bua.detectors.photo import Resize
from bua.detectors.selection import (
    ArgmaxSelection,
    BoxRegression,
    ClassAgnosticSelection,
    Proposals,
    Selection,
    postprocess_detections,
)
from bua.engine.instantiate import instantiate
from bua.public_names import to_targets
from tests.helpers.detectors import slow_nms
from tests.helpers.parity import load


def slow_selection(boxes, probabilities, rule: Selection) -> list[int]:
    """The rule of Anderson et al. 2018 as released: one suppression per class over all boxes."""
    n, classes = probabilities.shape
    scores = np.zeros(n, np.float32)

    def area(b):
        return (b[2] - b[0] + rule.pixel) * (b[3] - b[1] + rule.pixel)

    def overlap(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0]) + rule.pixel
        h = min(a[3], b[3]) - max(a[1], b[1]) + rule.pixel
        intersection = max(w, np.float32(0)) * max(h, np.float32(0))
        return intersection / (area(a) + area(b) - intersection)

    for c in range(1, classes):
        order = sorted(range(n), key=lambda i: -probabilities[i, c])
        kept: list[int] = []
        for i in order:
            if all(not overlap(boxes[k], boxes[i]) >= rule.nms_iou for k in kept):
                kept.append(i)
        for i in kept:
            scores[i] = max(scores[i], probabilities[i, c])
    selected = [i for i in range(n) if scores[i] >= rule.threshold]
    if len(selected) < rule.min_regions or len(selected) > rule.max_regions:
        count = rule.min_regions if len(selected) < rule.min_regions else rule.max_regions
        selected = sorted(range(n), key=lambda i: -scores[i])[:count]
    return selected


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 25),
    classes=st.integers(2, 9),
    scale=st.sampled_from([0.3, 2.0, 6.0]),
    min_regions=st.integers(1, 12),
    more=st.integers(0, 12),
    threshold=st.sampled_from([0.05, 0.2, 0.7]),
    pixel=st.sampled_from([0, 1]),
    dense=st.booleans(),
)
def test_sparse_and_dense_form_equal_the_loop_over_classes(
    seed, n, classes, scale, min_regions, more, threshold, pixel, dense
) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (n, 2))], 1).astype(np.float32)
    logits = torch.from_numpy(rng.standard_normal((n, classes)) * scale).float()
    probabilities = logits.softmax(1)
    rule = Selection(
        min_regions=min_regions,
        max_regions=min_regions + more,
        threshold=threshold,
        nms_iou=0.3,
        pixel=pixel,
    )
    with pytest.MonkeyPatch.context() as patch:
        if dense:
            patch.setattr(selection, "SPARSE_PAIRS", -1)
        kept, scores = rule(torch.from_numpy(boxes), probabilities)
    assert kept.tolist() == slow_selection(boxes, probabilities.numpy(), rule)
    assert len(scores) == len(kept)


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
    kept, scores = rule(boxes, probabilities)
    assert kept.tolist() == file[f"{case}/selected"].tolist()
    np.testing.assert_allclose(scores, file[f"{case}/selected_score"], rtol=1e-5)


def test_identical_background_boxes_still_give_the_minimum() -> None:
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
        ({"threshold": 0.0}, r"threshold must be in \(0, 1\], got 0.0"),
        ({"threshold": 1.001}, r"threshold must be in \(0, 1\], got 1.001"),
    ],
)
def test_invalid_numbers_are_rejected(numbers, message) -> None:
    valid = {"min_regions": 1, "max_regions": 4, "threshold": 0.2, "nms_iou": 0.3, "pixel": 0}
    with pytest.raises(ValueError, match=message):
        Selection(**(valid | numbers))


def random_proposals(seed: int, n: int, classes: int) -> Proposals:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (n, 2))], 1).astype(np.float32)
    twice_as_large = Resize(min_size=100, max_size=100, rule="caffe").geometry(50, 50)
    return Proposals(
        boxes=torch.from_numpy(boxes),
        features=torch.zeros(n, 2),
        probabilities=torch.from_numpy(rng.standard_normal((n, classes)) * 3).float().softmax(1),
        deltas=torch.from_numpy(rng.normal(0, 0.2, (n, classes, 4))).float(),
        attributes=None,
        regression=BoxRegression((1.0, 1.0, 1.0, 1.0), None, BoxConvention.MODERN, twice_as_large),
    )


def suppress(boxes, scores, iou: float) -> list[int]:
    return slow_nms(boxes.numpy(), scores.tolist(), iou, np.float32(0), False)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, 6), st.integers(0, 8))
def test_class_agnostic_selection_is_one_suppression_by_the_best_class(seed, n, min_regions, more) -> None:
    proposals = random_proposals(seed, n, 5)
    rule = ClassAgnosticSelection(
        min_regions=min_regions, max_regions=min_regions + more, threshold=0.5, nms_iou=0.5
    )
    scores = proposals.probabilities[:, 1:].amax(1)
    slow = suppress(proposals.original_boxes, scores, 0.5)
    above = sum(float(scores[k]) >= 0.5 for k in slow)
    kept, boxes = rule.select(proposals)
    assert kept.tolist() == slow[: min(max(above, min_regions), min_regions + more)]
    assert torch.equal(boxes, proposals.original_boxes[kept])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, 12))
def test_argmax_selection_relaxes_suppression_of_regressed_boxes_until_enough_are_left(
    seed, n, count
) -> None:
    proposals = random_proposals(seed, n, 5)
    scores, labels = proposals.probabilities[:, 1:].max(1)
    boxes = proposals.decode_boxes(torch.arange(n), labels + 1)
    slow: list[int] = []
    for iou in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        slow = suppress(boxes, scores, iou)
        if len(slow) >= count:
            break
    kept, selected = ArgmaxSelection(regions=count).select(proposals)
    assert kept.tolist() == slow[:count]
    assert torch.equal(selected, boxes[kept])
    assert boxes.max() <= 50  # in the original image, not in the resized one


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 20),
    threshold=st.sampled_from([0.0, 0.05, 0.3]),
    max_detections=st.sampled_from([3, 10, 1000]),
)
def test_detections_equal_the_loop_over_classes(seed, n, threshold, max_detections) -> None:
    proposals = random_proposals(seed, n, 4)
    slow = []
    for c in range(1, 4):
        rows = (proposals.probabilities[:, c] >= threshold).nonzero().squeeze(1)
        boxes = proposals.decode_boxes(rows, torch.full_like(rows, c))
        valid = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero().squeeze(1)
        rows, boxes = rows[valid], boxes[valid]
        for k in suppress(boxes, proposals.probabilities[rows, c], 0.5):
            slow.append((float(proposals.probabilities[rows[k], c]), c, int(rows[k])))
    slow = sorted(slow, key=lambda d: -d[0])[:max_detections]
    ours = postprocess_detections(
        proposals, score_threshold=threshold, nms_iou=0.5, max_detections=max_detections
    )
    assert [(c, i) for _, c, i in slow] == list(zip(ours.labels.tolist(), ours.index.tolist(), strict=True))
    assert ours.scores.tolist() == [score for score, *_ in slow]


#: Class probabilities of boxes that do not overlap, exact in binary; the best of the second is worth 0.25.
EXACT = torch.tensor([[0.5, 0.5, 0.0], [0.625, 0.25, 0.125], [0.8125, 0.0625, 0.125]])
APART = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])


@pytest.mark.parametrize("dense", [False, True])
def test_a_box_worth_exactly_the_threshold_is_selected(dense: bool, monkeypatch) -> None:
    if dense:
        monkeypatch.setattr(selection, "SPARSE_PAIRS", -1)
    rule = Selection(min_regions=1, max_regions=3, threshold=0.25, nms_iou=0.3, pixel=0)
    kept, scores = rule(APART, EXACT)
    assert (kept.tolist(), scores.tolist()) == ([0, 1], [0.5, 0.25])


def exact_proposals() -> Proposals:
    geometry = Resize(min_size=50, max_size=50, rule="caffe").geometry(50, 50)
    regression = BoxRegression((1.0, 1.0, 1.0, 1.0), None, BoxConvention.MODERN, geometry)
    return Proposals(APART, torch.zeros(3, 2), EXACT, torch.zeros(3, 3, 4), None, regression)


def test_a_box_worth_exactly_the_threshold_is_selected_by_the_fast_filter() -> None:
    rule = ClassAgnosticSelection(min_regions=1, max_regions=3, threshold=0.25, nms_iou=0.3)
    assert rule.select(exact_proposals())[0].tolist() == [0, 1]


def test_an_overlap_of_exactly_the_limit_suppresses_by_the_rule_of_the_paper_only() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    probabilities = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    numbers = {"min_regions": 1, "max_regions": 2, "threshold": 0.25, "nms_iou": 0.5}
    assert Selection(**numbers, pixel=0)(boxes, probabilities)[0].tolist() == [0]
    proposals = replace(exact_proposals(), boxes=boxes, probabilities=probabilities)
    assert ClassAgnosticSelection(**numbers).select(proposals)[0].tolist() == [0, 1]


@pytest.mark.parametrize("threshold", [0.125, 0.0625])  # above and below where the search starts
def test_a_detection_worth_exactly_the_threshold_is_kept(threshold: float) -> None:
    found = postprocess_detections(
        exact_proposals(), score_threshold=threshold, nms_iou=0.5, max_detections=9
    )
    assert min(found.scores.tolist()) == threshold


def test_every_number_at_the_border_of_what_is_valid_is_accepted() -> None:
    for threshold in (1e-9, 1.0):
        rule = Selection(min_regions=1, max_regions=1, threshold=threshold, nms_iou=0.3, pixel=0)
        assert len(rule(APART, EXACT)[0]) == 1


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
    assert instantiate(to_targets(rule.configuration())) == rule
