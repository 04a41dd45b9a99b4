"""Average precision on Visual Genome, compared with a slow reference written from its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.metrics.visual_genome import DetectedBoxes, GroundTruthBoxes, attribute_ap, genome_ap

CLASSES = 3


def iou(a, b) -> float:
    """Return the intersection over union of two boxes with inclusive coordinates."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    intersection = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return intersection / (sum(areas) - intersection)


def area_under_envelope(points: list[tuple[float, float]]) -> float:
    """Return the area under the highest precision at each recall or above it."""
    area, previous = 0.0, 0.0
    for recall, _ in points:
        area += (recall - previous) * max(p for r, p in points if r >= recall)
        previous = recall
    return area


def slow_ap(truth, detected, label: int, *, limit: int = 400, quirks: bool = False) -> float:
    """Match each detection of one class, best first, with the box that it overlaps most."""
    listed = []
    for image, (boxes, labels, scores) in enumerate(detected):
        lowest = sorted(scores, reverse=True)[:limit][-1] if len(scores) else 0
        for box, own, score in zip(boxes.tolist(), labels, scores.tolist(), strict=True):
            if own == label and score >= lowest:
                if quirks:
                    box = [float(f"{np.float32(v) + np.float32(1):.1f}") for v in box]
                    score = float(f"{score:.3f}")
                listed.append((score, image, box))
    positives = sum(int((boxes.labels == label).sum()) for boxes in truth)
    if not positives or not listed:
        return 0.0
    taken: set[tuple[int, int]] = set()
    hits, points = 0, []
    for n, (_, image, box) in enumerate(sorted(listed, key=lambda each: -each[0]), 1):
        boxes = truth[image].boxes.tolist()
        same_class = [k for k in range(len(boxes)) if truth[image].labels[k] == label]
        best = max(same_class, key=lambda k: iou(box, boxes[k]), default=None)
        if best is not None and iou(box, boxes[best]) > 0.5 and (image, best) not in taken:
            taken.add((image, best))
            hits += 1
        points.append((hits / positives, hits / n))
    return area_under_envelope(points)


EDGES = st.tuples(*[st.integers(0, 12)] * 4).map(
    lambda e: (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3]))
)
LABEL = st.integers(1, CLASSES)
SCORE = st.integers(0, 20).map(lambda n: n / 20)
TRUTH = st.lists(st.tuples(EDGES, LABEL), max_size=4)
DETECTED = st.lists(st.tuples(EDGES, LABEL, SCORE), max_size=7)


def to_truth(listed) -> GroundTruthBoxes:
    boxes = np.array([box for box, _ in listed], np.float32).reshape(-1, 4)
    return GroundTruthBoxes(boxes, np.array([label for _, label in listed], np.int64))


def to_detected(listed) -> DetectedBoxes:
    boxes = np.array([box for box, *_ in listed], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label, _ in listed], np.int64)
    return DetectedBoxes(boxes, labels, np.array([score for *_, score in listed], np.float64))


@given(
    images=st.lists(st.tuples(TRUTH, DETECTED), max_size=4), limit=st.integers(1, 8), shift=st.floats(0, 0.5)
)
@pytest.mark.parametrize("quirks", [False, True])
def test_precisions_equal_the_definition(quirks, images, limit, shift) -> None:
    truth = [to_truth(boxes) for boxes, _ in images]
    detected = [to_detected(boxes) for _, boxes in images]
    detected = [DetectedBoxes(d.boxes + np.float32(shift), d.labels, d.scores * 0.9999) for d in detected]
    result = genome_ap(truth, detected, CLASSES, max_detections=limit, quirks=quirks)
    expected = [slow_ap(truth, detected, n, limit=limit, quirks=quirks) for n in range(1, CLASSES + 1)]
    assert result["per_class"] == pytest.approx(expected, abs=1e-12)
    positives = [sum(int((t.labels == n).sum()) for t in truth) for n in range(1, CLASSES + 1)]
    assert result["positives"] == positives
    assert result["AP50"] == pytest.approx(np.mean(expected), abs=1e-12)
    weighted = np.average(expected, weights=positives) if sum(positives) else 0
    assert result["AP50_weighted"] == pytest.approx(weighted, abs=1e-12)


def truth_of(boxes, labels) -> GroundTruthBoxes:
    return GroundTruthBoxes(np.array(boxes, float).reshape(-1, 4), np.array(labels, np.int64))


def detections_of(boxes, labels, scores) -> DetectedBoxes:
    return DetectedBoxes(
        np.array(boxes, float).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, float)
    )


A, B, FAR = [0, 0, 9, 9], [20, 20, 29, 29], [50, 50, 59, 59]


def test_precision_by_hand() -> None:
    truth = [truth_of([A, B], [1, 1])]
    assert genome_ap(truth, [detections_of([A, B], [1, 1], [0.9, 0.8])], 1)["AP50"] == 1
    # hit, miss, hit: precision 1 up to a recall of 1/2, then 2/3
    detected = [detections_of([A, FAR, B], [1, 1, 1], [0.9, 0.8, 0.7])]
    assert genome_ap(truth, detected, 1)["AP50"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    # miss, hit: the envelope is 1/2 up to a recall of 1/2, then 0
    assert genome_ap(truth, [detections_of([FAR, A], [1, 1], [0.9, 0.8])], 1)["AP50"] == pytest.approx(0.25)


def test_a_second_detection_of_an_object_is_wrong_even_if_it_overlaps_another_object() -> None:
    near = [0, 0, 9, 10]
    truth = [truth_of([A, near], [1, 1])]
    detected = [detections_of([A, A], [1, 1], [0.9, 0.8])]
    assert genome_ap(truth, detected, 1)["AP50"] == pytest.approx(0.5)


def test_an_iou_of_half_is_not_enough_and_coordinates_are_inclusive() -> None:
    truth = [truth_of([[0, 0, 9, 9]], [1])]
    half, more = [0, 0, 9, 4], [0, 0, 9, 5]
    assert genome_ap(truth, [detections_of([half], [1], [1])], 1)["AP50"] == 0
    assert genome_ap(truth, [detections_of([more], [1], [1])], 1)["AP50"] == 1
    dot = [3, 3, 3, 3]
    assert genome_ap([truth_of([dot], [1])], [detections_of([dot], [1], [1])], 1)["AP50"] == 1


def test_classes_without_truth_or_detections_are_0_and_count_in_the_mean() -> None:
    truth = [truth_of([A, A, B], [1, 2, 2])]
    result = genome_ap(truth, [detections_of([A, B], [1, 3], [0.9, 0.8])], 4)
    assert result["per_class"] == [1, 0, 0, 0]
    assert result["positives"] == [1, 2, 0, 0]
    assert result["AP50"] == 0.25
    assert result["AP50_weighted"] == pytest.approx(1 / 3)
    empty = genome_ap([], [], 2)
    assert empty == {"AP50": 0, "AP50_weighted": 0, "per_class": [0, 0], "positives": [0, 0]}


def test_only_the_best_detections_of_an_image_count() -> None:
    truth = [truth_of([A, B], [1, 2])]
    detected = [detections_of([A, B], [1, 2], [0.9, 0.1])]
    assert genome_ap(truth, detected, 2, max_detections=1)["per_class"] == [1, 0]
    tied = [detections_of([A, B], [1, 2], [0.9, 0.9])]
    assert genome_ap(truth, tied, 2, max_detections=1)["per_class"] == [1, 1]


def test_quirks_shift_detections_by_a_pixel_and_round_scores() -> None:
    truth = [truth_of([[0, 0, 4, 4]], [1])]
    detected = [detections_of([[0, 0, 4, 4]], [1], [0.5])]
    assert genome_ap(truth, detected, 1)["AP50"] == 1
    assert genome_ap(truth, detected, 1, quirks=True)["AP50"] == 0  # IoU 16 / 34
    close = [detections_of([FAR, A], [1, 1], [0.9001, 0.9002])]
    assert genome_ap([truth_of([A], [1])], close, 1)["AP50"] == 1
    assert genome_ap([truth_of([A], [1])], close, 1, quirks=True)["AP50"] == 0.5


@given(images=st.lists(st.tuples(TRUTH, DETECTED), min_size=1, max_size=3), data=st.data())
def test_the_order_of_detections_with_different_scores_does_not_matter(images, data) -> None:
    truth = [to_truth(boxes) for boxes, _ in images]
    ordered, shuffled = [], []
    for _, boxes in images:
        scores = np.random.default_rng(len(ordered)).permutation(len(boxes)) + 100 * len(ordered)
        detected = to_detected(boxes)._replace(scores=scores.astype(float))
        order = np.array(data.draw(st.permutations(range(len(boxes)))), np.int64)
        ordered.append(detected)
        shuffled.append(DetectedBoxes(*(values[order] for values in detected)))
    assert genome_ap(truth, shuffled, CLASSES) == genome_ap(truth, ordered, CLASSES)


def test_invalid_input_is_refused() -> None:
    detected, truth = detections_of([A], [1], [0.5]), truth_of([A], [1])
    with pytest.raises(ValueError, match="zip"):
        genome_ap([truth], [], 1)
    with pytest.raises(ValueError, match="labels must be from 1 to 1, got 0 to 0"):
        genome_ap([truth], [detected._replace(labels=np.array([0]))], 1)
    with pytest.raises(ValueError, match="labels must be from 1 to 1, got 2 to 2"):
        genome_ap([truth_of([A], [2])], [detected], 1)
    with pytest.raises(ValueError, match="a score is NaN"):
        genome_ap([truth], [detected._replace(scores=np.array([np.nan]))], 1)
    with pytest.raises(
        ValueError, match=r"attributes have shape \(1, 2\) and scores \(1, 3\), expected \(1, 2\)"
    ):
        attribute_ap([(truth.boxes, np.ones((1, 2), bool))], [np.ones((1, 3))], 2)


def test_attributes_by_hand() -> None:
    boxes = np.array([A, B], float)
    present = np.array([[True, False, False], [True, True, False]])
    predicted = np.array([[0.9, 0.1, 0.2], [0.3, 0.8, 0.7]])
    result = attribute_ap([(boxes, present)], [predicted], 3)
    assert result["per_class"] == [1, 1, 0]
    assert result["positives"] == [2, 1, 0]
    assert result["AP50"] == pytest.approx(2 / 3)
    assert result["AP50_weighted"] == 1
    assert attribute_ap([(boxes, present)], [predicted], 3, max_detections=1)["per_class"] == [0.5, 0, 0]


def test_an_attribute_of_a_box_can_match_another_box_that_it_overlaps() -> None:
    boxes = np.array([A, [0, 0, 9, 10]], float)
    present, predicted = np.array([[True], [False]]), np.array([[0.1], [0.9]])
    assert attribute_ap([(boxes, present)], [predicted], 1)["per_class"] == [1]


ATTRIBUTES = st.lists(st.tuples(EDGES, st.lists(st.booleans(), min_size=2, max_size=2)), max_size=4)


@given(images=st.lists(ATTRIBUTES, max_size=3), limit=st.integers(1, 6), seed=st.integers(0, 99))
@pytest.mark.parametrize("quirks", [False, True])
def test_attributes_are_scored_as_detections_of_the_ground_truth_boxes(quirks, images, limit, seed) -> None:
    rng = np.random.default_rng(seed)
    attributes, predicted, truth, detected = [], [], [], []
    for image in images:
        boxes = np.array([box for box, _ in image], float).reshape(-1, 4)
        present = np.array([mask for _, mask in image], bool).reshape(-1, 2)
        scores = rng.integers(0, 9, present.shape) / 9
        attributes.append((boxes, present))
        predicted.append(scores)
        pairs = [(n, a) for n in range(len(boxes)) for a in range(2)]
        positive = [(n, a) for n, a in pairs if present[n, a]]
        truth.append(truth_of([boxes[n] for n, _ in positive], [a + 1 for _, a in positive]))
        detected.append(
            detections_of([boxes[n] for n, _ in pairs], [a + 1 for _, a in pairs], scores.ravel())
        )
    result = attribute_ap(attributes, predicted, 2, max_detections=limit, quirks=quirks)
    expected = [slow_ap(truth, detected, n, limit=limit, quirks=quirks) for n in (1, 2)]
    assert result["per_class"] == pytest.approx(expected, abs=1e-12)
