"""Average precision on Visual Genome, against a slow reference written from its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.metrics.visual_genome import Found, Truth, attribute_ap, genome_ap

CLASSES = 3


def overlap(a, b) -> float:
    """Intersection over union of two boxes whose edges are pixels of theirs."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    inside = max(wide, 0) * max(high, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return inside / (sum(areas) - inside)


def area_under_envelope(points: list[tuple[float, float]]) -> float:
    """Area below the highest precision that is reached at a recall or above it."""
    area, before = 0.0, 0.0
    for recall, _ in points:
        area += (recall - before) * max(p for r, p in points if r >= recall)
        before = recall
    return area


def slow_ap(truth, found, label: int, *, most: int = 400, quirks: bool = False) -> float:
    """Go down the detections of one class, best first, and match each with what it overlaps most."""
    listed = []
    for image, (boxes, labels, scores) in enumerate(found):
        least = sorted(scores, reverse=True)[:most][-1] if len(scores) else 0
        for box, own, score in zip(boxes.tolist(), labels, scores.tolist(), strict=True):
            if own == label and score >= least:
                if quirks:
                    box = [float(f"{np.float32(v) + np.float32(1):.1f}") for v in box]
                    score = float(f"{score:.3f}")
                listed.append((score, image, box))
    positives = sum(int((real.labels == label).sum()) for real in truth)
    if not positives or not listed:
        return 0.0
    taken: set[tuple[int, int]] = set()
    right, points = 0, []
    for n, (_, image, box) in enumerate(sorted(listed, key=lambda each: -each[0]), 1):
        real = truth[image]
        own = [k for k in range(len(real.labels)) if real.labels[k] == label]
        best = max(own, key=lambda k: overlap(box, real.boxes[k].tolist()), default=None)
        if best is not None and overlap(box, real.boxes[best].tolist()) > 0.5 and (image, best) not in taken:
            taken.add((image, best))
            right += 1
        points.append((right / positives, right / n))
    return area_under_envelope(points)


EDGES = st.tuples(*[st.integers(0, 12)] * 4).map(
    lambda e: (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3]))
)
LABEL = st.integers(1, CLASSES)
SCORE = st.integers(0, 20).map(lambda n: n / 20)
TRUTH = st.lists(st.tuples(EDGES, LABEL), max_size=4)
FOUND = st.lists(st.tuples(EDGES, LABEL, SCORE), max_size=7)


def as_truth(listed) -> Truth:
    boxes = np.array([box for box, _ in listed], np.float32).reshape(-1, 4)
    return Truth(boxes, np.array([label for _, label in listed], np.int64))


def as_found(listed) -> Found:
    boxes = np.array([box for box, *_ in listed], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label, _ in listed], np.int64)
    return Found(boxes, labels, np.array([score for *_, score in listed], np.float64))


@given(images=st.lists(st.tuples(TRUTH, FOUND), max_size=4), most=st.integers(1, 8), shift=st.floats(0, 0.5))
@pytest.mark.parametrize("quirks", [False, True])
def test_precisions_are_those_of_the_definition(quirks, images, most, shift) -> None:
    truth = [as_truth(real) for real, _ in images]
    found = [as_found(listed) for _, listed in images]
    found = [Found(f.boxes + np.float32(shift), f.labels, f.scores * 0.9999) for f in found]
    result = genome_ap(truth, found, CLASSES, most=most, quirks=quirks)
    expected = [slow_ap(truth, found, n, most=most, quirks=quirks) for n in range(1, CLASSES + 1)]
    assert result["per_class"] == pytest.approx(expected, abs=1e-12)
    positives = [sum(int((t.labels == n).sum()) for t in truth) for n in range(1, CLASSES + 1)]
    assert result["positives"] == positives
    assert result["AP50"] == pytest.approx(np.mean(expected), abs=1e-12)
    weighted = np.average(expected, weights=positives) if sum(positives) else 0
    assert result["AP50_weighted"] == pytest.approx(weighted, abs=1e-12)


def one(boxes, labels) -> Truth:
    return Truth(np.array(boxes, float).reshape(-1, 4), np.array(labels, np.int64))


def seen(boxes, labels, scores) -> Found:
    return Found(np.array(boxes, float).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, float))


A, B, FAR = [0, 0, 9, 9], [20, 20, 29, 29], [50, 50, 59, 59]


def test_precision_by_hand() -> None:
    truth = [one([A, B], [1, 1])]
    assert genome_ap(truth, [seen([A, B], [1, 1], [0.9, 0.8])], 1)["AP50"] == 1
    # right, wrong, right: precision 1 up to a recall of 1/2 and 2/3 from there
    found = [seen([A, FAR, B], [1, 1, 1], [0.9, 0.8, 0.7])]
    assert genome_ap(truth, found, 1)["AP50"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    # wrong, right: the envelope is 1/2 up to a recall of 1/2, and nothing is found after that
    assert genome_ap(truth, [seen([FAR, A], [1, 1], [0.9, 0.8])], 1)["AP50"] == pytest.approx(0.25)


def test_a_second_detection_of_a_thing_is_wrong_even_where_another_thing_would_do() -> None:
    near = [0, 0, 9, 10]
    truth = [one([A, near], [1, 1])]
    found = [seen([A, A], [1, 1], [0.9, 0.8])]
    assert genome_ap(truth, found, 1)["AP50"] == pytest.approx(0.5)


def test_half_an_overlap_is_not_enough_and_edges_are_pixels() -> None:
    truth = [one([[0, 0, 9, 9]], [1])]
    half, more = [0, 0, 9, 4], [0, 0, 9, 5]
    assert genome_ap(truth, [seen([half], [1], [1])], 1)["AP50"] == 0
    assert genome_ap(truth, [seen([more], [1], [1])], 1)["AP50"] == 1
    dot = [3, 3, 3, 3]
    assert genome_ap([one([dot], [1])], [seen([dot], [1], [1])], 1)["AP50"] == 1


def test_classes_without_truth_or_detections_are_0_and_stay_in_the_mean() -> None:
    truth = [one([A, A, B], [1, 2, 2])]
    result = genome_ap(truth, [seen([A, B], [1, 3], [0.9, 0.8])], 4)
    assert result["per_class"] == [1, 0, 0, 0]
    assert result["positives"] == [1, 2, 0, 0]
    assert result["AP50"] == 0.25
    assert result["AP50_weighted"] == pytest.approx(1 / 3)
    nothing = genome_ap([], [], 2)
    assert nothing == {"AP50": 0, "AP50_weighted": 0, "per_class": [0, 0], "positives": [0, 0]}


def test_only_the_best_detections_of_an_image_count_over_all_classes() -> None:
    truth = [one([A, B], [1, 2])]
    found = [seen([A, B], [1, 2], [0.9, 0.1])]
    assert genome_ap(truth, found, 2, most=1)["per_class"] == [1, 0]
    equal = [seen([A, B], [1, 2], [0.9, 0.9])]
    assert genome_ap(truth, equal, 2, most=1)["per_class"] == [1, 1]


def test_quirks_move_detections_by_a_pixel_and_round_scores() -> None:
    truth = [one([[0, 0, 4, 4]], [1])]
    found = [seen([[0, 0, 4, 4]], [1], [0.5])]
    assert genome_ap(truth, found, 1)["AP50"] == 1
    assert genome_ap(truth, found, 1, quirks=True)["AP50"] == 0  # 16 / 34 of it is left
    close = [seen([FAR, A], [1, 1], [0.9001, 0.9002])]
    assert genome_ap([one([A], [1])], close, 1)["AP50"] == 1
    assert genome_ap([one([A], [1])], close, 1, quirks=True)["AP50"] == 0.5


@given(images=st.lists(st.tuples(TRUTH, FOUND), min_size=1, max_size=3), data=st.data())
def test_the_order_of_detections_of_different_scores_does_not_matter(images, data) -> None:
    truth = [as_truth(real) for real, _ in images]
    found, turned = [], []
    for _, listed in images:
        scores = np.random.default_rng(len(found)).permutation(len(listed)) + 100 * len(found)
        f = as_found(listed)._replace(scores=scores.astype(float))
        order = np.array(data.draw(st.permutations(range(len(listed)))), np.int64)
        found.append(f)
        turned.append(Found(*(values[order] for values in f)))
    assert genome_ap(truth, turned, CLASSES) == genome_ap(truth, found, CLASSES)


def test_what_cannot_be_scored_is_named() -> None:
    good, real = seen([A], [1], [0.5]), one([A], [1])
    with pytest.raises(ValueError, match="zip"):
        genome_ap([real], [], 1)
    with pytest.raises(ValueError, match="classes are 0 to 0; they count from 1 to 1"):
        genome_ap([real], [good._replace(labels=np.array([0]))], 1)
    with pytest.raises(ValueError, match="classes are 2 to 2"):
        genome_ap([one([A], [2])], [good], 1)
    with pytest.raises(ValueError, match="a score is not a number"):
        genome_ap([real], [good._replace(scores=np.array([np.nan]))], 1)
    with pytest.raises(ValueError, match=r"attributes are \(1, 2\) and \(1, 3\), not \(1, 2\)"):
        attribute_ap([(real.boxes, np.ones((1, 2), bool))], [np.ones((1, 3))], 2)


def test_attributes_by_hand() -> None:
    boxes = np.array([A, B], float)
    has = np.array([[True, False, False], [True, True, False]])
    predicted = np.array([[0.9, 0.1, 0.2], [0.3, 0.8, 0.7]])
    result = attribute_ap([(boxes, has)], [predicted], 3)
    assert result["per_class"] == [1, 1, 0]
    assert result["positives"] == [2, 1, 0]
    assert result["AP50"] == pytest.approx(2 / 3)
    assert result["AP50_weighted"] == 1
    assert attribute_ap([(boxes, has)], [predicted], 3, most=1)["per_class"] == [0.5, 0, 0]


def test_an_attribute_of_a_box_that_covers_another_counts_for_that_one() -> None:
    boxes = np.array([A, [0, 0, 9, 10]], float)
    has, predicted = np.array([[True], [False]]), np.array([[0.1], [0.9]])
    assert attribute_ap([(boxes, has)], [predicted], 1)["per_class"] == [1]


ATTRIBUTES = st.lists(st.tuples(EDGES, st.lists(st.booleans(), min_size=2, max_size=2)), max_size=4)


@given(images=st.lists(ATTRIBUTES, max_size=3), most=st.integers(1, 6), seed=st.integers(0, 99))
@pytest.mark.parametrize("quirks", [False, True])
def test_attributes_are_detections_of_the_true_boxes(quirks, images, most, seed) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted, real, found = [], [], [], []
    for listed in images:
        boxes = np.array([box for box, _ in listed], float).reshape(-1, 4)
        has = np.array([own for _, own in listed], bool).reshape(-1, 2)
        scores = rng.integers(0, 9, has.shape) / 9
        truth.append((boxes, has))
        predicted.append(scores)
        pairs = [(n, a) for n in range(len(boxes)) for a in range(2)]
        real.append(one([boxes[n] for n, a in pairs if has[n, a]], [a + 1 for n, a in pairs if has[n, a]]))
        found.append(seen([boxes[n] for n, _ in pairs], [a + 1 for _, a in pairs], scores.ravel()))
    result = attribute_ap(truth, predicted, 2, most=most, quirks=quirks)
    expected = [slow_ap(real, found, n, most=most, quirks=quirks) for n in (1, 2)]
    assert result["per_class"] == pytest.approx(expected, abs=1e-12)
