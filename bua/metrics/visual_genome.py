"""Average precision of objects and attributes as reported on Visual Genome.

The numbers of Anderson et al. 2018 and later work come from an evaluation in the style of PASCAL VOC.
Each detection is matched with the ground-truth box of its class that it overlaps most. It is a true
positive if their intersection over union (IoU) is above 0.5 and no higher-scored detection was matched
with the same box. Average precision is the area under the envelope of precision over recall.
Coordinates are inclusive, so that a box from 3 to 5 has width 3. A class without ground truth or without
detections has an average precision of 0 and counts in the mean.

Shapes: M ground-truth boxes and N detections of an image, A attributes.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


class GroundTruthBoxes(NamedTuple):
    """The ground-truth boxes of an image.

    Attributes:
        boxes: Boxes as x1 y1 x2 y2 in pixels, shape (M, 4).
        labels: Classes, starting at 1, shape (M,).
    """

    boxes: Floats
    labels: Integers


class DetectedBoxes(NamedTuple):
    """The detections of an image, in any order.

    Attributes:
        boxes: Boxes as x1 y1 x2 y2 in pixels, shape (N, 4).
        labels: Classes, starting at 1, shape (N,).
        scores: Confidences, shape (N,).
    """

    boxes: Floats
    labels: Integers
    scores: Floats


def genome_ap(
    ground_truth: Iterable[GroundTruthBoxes],
    detections: Iterable[DetectedBoxes],
    num_classes: int,
    *,
    iou_threshold: float = 0.5,
    max_detections: int = 400,
    quirks: bool = False,
) -> dict[str, Any]:
    """Compute the average precision of object detections.

    The detections of the paper have regressed boxes, after non-maximum suppression within each class at
    an IoU of 0.3.

    Args:
        ground_truth: Ground truth of every image.
        detections: Detections of the same images in the same order.
        num_classes: Number of classes, without background.
        iou_threshold: IoU above which a detection matches a ground-truth box.
        max_detections: Maximum number of detections per image, over all classes; detections with the
            same score as the last one are kept as well.
        quirks: Whether to reproduce the released evaluation exactly. It shifts detections, but not the
            ground truth, by one pixel to the right and down, and rounds coordinates to one decimal and
            scores to three.

    Returns:
        ``AP50``, the mean over all classes, and ``AP50_weighted``, weighted by the number of ground-truth
        boxes, from 0 to 1; and the lists ``per_class`` and ``positives`` with the average precision and
        the number of ground-truth boxes of every class. Ties in score are broken by the order of images
        and detections.

    Raises:
        ValueError: If the numbers of images differ, a class is not from 1 to ``num_classes``, or a score
            is NaN.
    """
    positives = np.zeros(num_classes + 1, np.int64)
    labels: list[Integers] = [np.zeros(0, np.int64)]
    scores: list[Floats] = [np.zeros(0)]
    matches: list[Integers] = [np.zeros(0, np.int64)]
    for truth, detected in zip(ground_truth, detections, strict=True):
        _check_labels(truth.labels, num_classes)
        _check_labels(detected.labels, num_classes)
        kept = _keep_best(detected, max_detections)
        if quirks:
            kept = _round_as_released(kept)
        match = _match(kept, truth, iou_threshold)
        labels.append(kept.labels)
        scores.append(kept.scores)
        matches.append(np.where(match < 0, -1, match + positives.sum()))
        positives += np.bincount(truth.labels, minlength=num_classes + 1)
    all_detections = np.concatenate(labels), np.concatenate(scores), np.concatenate(matches)
    per_class = _average_precisions(*all_detections, positives)[1:]
    weights = positives[1:] / max(int(positives.sum()), 1)
    return {
        "AP50": float(per_class.mean()) if num_classes else 0.0,
        "AP50_weighted": float((per_class * weights).sum()),
        "per_class": per_class.tolist(),
        "positives": positives[1:].tolist(),
    }


def attribute_ap(
    ground_truth: Iterable[tuple[Floats, NDArray[np.bool_]]],
    scores: Iterable[Floats],
    num_attributes: int,
    *,
    iou_threshold: float = 0.5,
    max_detections: int = 400,
    quirks: bool = False,
) -> dict[str, Any]:
    """Compute the average precision of attributes that were predicted for ground-truth boxes.

    Each pair of a box and an attribute counts as a detection, and each attribute of a box as ground truth
    of that attribute. A box may therefore match another one that it overlaps.

    Args:
        ground_truth: Boxes of every image as x1 y1 x2 y2, shape (M, 4), and a mask of their attributes,
            shape (M, A).
        scores: Scores of the attributes of these boxes, shape (M, A), for the same images in the same
            order.
        num_attributes: Number of attributes A, without "no attribute".
        iou_threshold: See ``genome_ap``.
        max_detections: Maximum number of pairs of a box and an attribute per image, as for ``genome_ap``.
        quirks: See ``genome_ap``.

    Returns:
        The same as from ``genome_ap``, for attributes instead of classes.

    Raises:
        ValueError: If the numbers of images differ, attributes or scores do not have shape (M, A), or a
            score is NaN.
    """
    truths: list[GroundTruthBoxes] = []
    detections: list[DetectedBoxes] = []
    for (boxes, present), predicted in zip(ground_truth, scores, strict=True):
        shape = len(boxes), num_attributes
        if present.shape != shape or predicted.shape != shape:
            raise ValueError(
                f"attributes have shape {present.shape} and scores {predicted.shape}, expected {shape}"
            )
        positive, pair = np.nonzero(present), np.arange(predicted.size)
        truths.append(GroundTruthBoxes(boxes[positive[0]], positive[1] + 1))
        pairs = DetectedBoxes(
            boxes[pair // max(num_attributes, 1)], pair % max(num_attributes, 1) + 1, predicted.ravel()
        )
        detections.append(_keep_best(pairs, max_detections))
    return genome_ap(
        truths,
        detections,
        num_attributes,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        quirks=quirks,
    )


def _check_labels(labels: Integers, num_classes: int) -> None:
    if len(labels) and not (labels.min() >= 1 and labels.max() <= num_classes):
        raise ValueError(f"labels must be from 1 to {num_classes}, got {labels.min()} to {labels.max()}")


def _keep_best(detected: DetectedBoxes, max_detections: int) -> DetectedBoxes:
    """Return the detections with the highest scores, including ties with the last of them."""
    if np.isnan(detected.scores).any():
        raise ValueError("a score is NaN")
    if len(detected.scores) <= max_detections:
        return detected
    lowest = np.partition(detected.scores, -max_detections)[-max_detections]
    kept = detected.scores >= lowest
    return DetectedBoxes(detected.boxes[kept], detected.labels[kept], detected.scores[kept])


def _round_as_released(detected: DetectedBoxes) -> DetectedBoxes:
    """Return detections as the result files of the released evaluation hold them."""
    boxes = np.char.mod("%.1f", detected.boxes.astype(np.float32) + 1).astype(np.float64)
    return DetectedBoxes(boxes, detected.labels, np.char.mod("%.3f", detected.scores).astype(np.float64))


def _match(detected: DetectedBoxes, truth: GroundTruthBoxes, iou_threshold: float) -> Integers:
    """Return the index of the ground-truth box of its class that each detection overlaps most, or -1."""
    if not len(truth.labels) or not len(detected.labels):
        return np.full(len(detected.labels), -1)
    row, column = np.nonzero(detected.labels[:, None] == truth.labels)
    a, b = detected.boxes[row].astype(np.float64), truth.boxes[column].astype(np.float64)
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    intersection = (high - low + 1).clip(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(1) for boxes in (a, b)]
    iou = np.full((len(detected.labels), len(truth.labels)), -1.0)
    iou[row, column] = intersection / (areas[0] + areas[1] - intersection)
    best = iou.argmax(1)
    matched = np.take_along_axis(iou, best[:, None], 1)[:, 0] > iou_threshold
    return np.where(matched, best, -1)


def _average_precisions(
    labels: Integers, scores: Floats, matches: Integers, positives: Integers
) -> NDArray[np.float64]:
    """Return the average precision of every class, including background.

    Args:
        labels: Class of every detection of all images.
        scores: Scores of the detections.
        matches: Index of the matched ground-truth box of each detection, over all images, or -1.
        positives: Number of ground-truth boxes of every class.
    """
    order = np.lexsort((-scores, labels))
    labels, matches = labels[order], matches[order]
    matched = np.flatnonzero(matches >= 0)
    true_positive = np.zeros(len(labels), bool)
    true_positive[matched[np.unique(matches[matched], return_index=True)[1]]] = True
    bounds = np.searchsorted(labels, np.arange(len(positives) + 1))
    precisions = np.zeros(len(positives))
    for label, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        hits = true_positive[start:stop]
        if hits.any():
            precision = hits.cumsum() / np.arange(1, stop - start + 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            precisions[label] = envelope[hits].sum() / positives[label]
    return precisions
