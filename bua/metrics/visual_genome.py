"""Average precision of objects and attributes as it is reported on Visual Genome.

The numbers of Anderson et al. 2018 and of what followed come from an evaluation in the way of PASCAL
VOC: every detection is matched with the true box of its class that it overlaps most, and counts if
their intersection over union is above 0.5 and no better detection was matched with that box; average
precision is the area under the envelope of precision over recall. Coordinates name pixels, so a box
from 3 to 5 is 3 wide. A class without true boxes or without detections has 0 and stays in the mean.

Shapes: M true boxes and N detections of an image, A attributes.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


class Truth(NamedTuple):
    """The true boxes of an image: (M, 4), x1 y1 x2 y2 in pixels, and their classes (M,) from 1."""

    boxes: Floats
    labels: Integers


class Found(NamedTuple):
    """The detections of an image: boxes (N, 4), classes (N,) from 1 and scores (N,), in any order."""

    boxes: Floats
    labels: Integers
    scores: Floats


def genome_ap(
    truth: Iterable[Truth],
    found: Iterable[Found],
    classes: int,
    *,
    threshold: float = 0.5,
    most: int = 400,
    quirks: bool = False,
) -> dict[str, Any]:
    """Score detections; the paper's were regressed, and suppressed in each class from an IoU of 0.3.

    Args:
        truth: of every image.
        found: of the same images in the same order.
        classes: how many there are.
        threshold: a detection must overlap a true box by more than this.
        most: detections of an image that count, over all classes; those as good as the last one count
            too.
        quirks: reproduce the released evaluation, which moves detections, but not true boxes, by a
            pixel to the right and down, and rounds coordinates to tenths and scores to thousandths.

    Returns:
        ``AP50``, the mean over all classes; ``AP50_weighted``, weighted by their numbers of true boxes;
        ``per_class`` and ``positives``, lists with the precision and the number of true boxes of every
        class. Precisions are from 0 to 1. Of equal scores the earlier image and the earlier detection
        come first.

    Raises:
        ValueError: there are not as many images found as true, a class is not from 1 to ``classes``,
            or a score is not a number.
    """
    positives = np.zeros(classes + 1, np.int64)
    labels: list[Integers] = [np.zeros(0, np.int64)]
    scores: list[Floats] = [np.zeros(0)]
    matches: list[Integers] = [np.zeros(0, np.int64)]
    for real, every in zip(truth, found, strict=True):
        _check(real.labels, classes)
        _check(every.labels, classes)
        kept = _best(every, most)
        if quirks:
            kept = _as_written(kept)
        match = _matched(kept, real, threshold)
        labels.append(kept.labels)
        scores.append(kept.scores)
        matches.append(np.where(match < 0, -1, match + positives.sum()))
        positives += np.bincount(real.labels, minlength=classes + 1)
    hits = np.concatenate(labels), np.concatenate(scores), np.concatenate(matches)
    per_class = _precisions(*hits, positives)[1:]
    weights = positives[1:] / max(int(positives.sum()), 1)
    return {
        "AP50": float(per_class.mean()) if classes else 0.0,
        "AP50_weighted": float((per_class * weights).sum()),
        "per_class": per_class.tolist(),
        "positives": positives[1:].tolist(),
    }


def attribute_ap(
    truth: Iterable[tuple[Floats, NDArray[np.bool_]]],
    scores: Iterable[Floats],
    attributes: int,
    *,
    threshold: float = 0.5,
    most: int = 400,
    quirks: bool = False,
) -> dict[str, Any]:
    """Score attributes that were predicted for true boxes.

    Every pair of a box and an attribute is a detection, every attribute that a box has a true box of
    that attribute; so a box may be matched with another one that it overlaps.

    Args:
        truth: of every image boxes (M, 4), x1 y1 x2 y2, and which attributes they have, (M, A).
        scores: of the same images in the same order what was predicted for the boxes, (M, A).
        attributes: how many there are, A, without "no attribute".
        threshold: as for ``genome_ap``.
        most: pairs of an image that count.
        quirks: as for ``genome_ap``.

    Returns:
        The same as ``genome_ap``, of attributes.

    Raises:
        ValueError: as for ``genome_ap``, or what an image has or was predicted is not (M, A).
    """
    real: list[Truth] = []
    found: list[Found] = []
    for (boxes, present), predicted in zip(truth, scores, strict=True):
        shape = len(boxes), attributes
        if present.shape != shape or predicted.shape != shape:
            raise ValueError(f"attributes are {present.shape} and {predicted.shape}, not {shape}")
        has, row = np.nonzero(present), np.arange(predicted.size)
        real.append(Truth(boxes[has[0]], has[1] + 1))
        pairs = Found(boxes[row // max(attributes, 1)], row % max(attributes, 1) + 1, predicted.ravel())
        found.append(_best(pairs, most))
    return genome_ap(real, found, attributes, threshold=threshold, most=most, quirks=quirks)


def _check(labels: Integers, classes: int) -> None:
    if len(labels) and not (labels.min() >= 1 and labels.max() <= classes):
        raise ValueError(f"classes are {labels.min()} to {labels.max()}; they count from 1 to {classes}")


def _best(found: Found, most: int) -> Found:
    """Return the best detections, and those that are as good as the last of them."""
    if np.isnan(found.scores).any():
        raise ValueError("a score is not a number")
    if len(found.scores) <= most:
        return found
    least = np.partition(found.scores, -most)[-most]
    kept = found.scores >= least
    return Found(found.boxes[kept], found.labels[kept], found.scores[kept])


def _as_written(found: Found) -> Found:
    """Return detections as the files of the released evaluation hold them."""
    boxes = np.char.mod("%.1f", found.boxes.astype(np.float32) + 1).astype(np.float64)
    return Found(boxes, found.labels, np.char.mod("%.3f", found.scores).astype(np.float64))


def _matched(found: Found, truth: Truth, threshold: float) -> Integers:
    """Return for every detection the true box of its class that it overlaps most, or -1."""
    if not len(truth.labels) or not len(found.labels):
        return np.full(len(found.labels), -1)
    row, column = np.nonzero(found.labels[:, None] == truth.labels)
    detection, box = found.boxes[row].astype(np.float64), truth.boxes[column].astype(np.float64)
    low, high = np.maximum(detection[:, :2], box[:, :2]), np.minimum(detection[:, 2:], box[:, 2:])
    inside = (high - low + 1).clip(min=0).prod(1)
    areas = [(each[:, 2:] - each[:, :2] + 1).prod(1) for each in (detection, box)]
    overlap = np.full((len(found.labels), len(truth.labels)), -1.0)
    overlap[row, column] = inside / (areas[0] + areas[1] - inside)
    best = overlap.argmax(1)
    reached = np.take_along_axis(overlap, best[:, None], 1)[:, 0] > threshold
    return np.where(reached, best, -1)


def _precisions(
    labels: Integers, scores: Floats, matches: Integers, positives: Integers
) -> NDArray[np.float64]:
    """Return the average precision of every class, the background's too.

    Args:
        labels: class of every detection of all images.
        scores: their scores.
        matches: number of the true box that each was matched with, or -1.
        positives: true boxes of every class.
    """
    order = np.lexsort((-scores, labels))
    labels, matches = labels[order], matches[order]
    matched = np.flatnonzero(matches >= 0)
    right = np.zeros(len(labels), bool)
    right[matched[np.unique(matches[matched], return_index=True)[1]]] = True
    stops = np.searchsorted(labels, np.arange(len(positives) + 1))
    found = np.zeros(len(positives))
    for label, (start, stop) in enumerate(zip(stops[:-1], stops[1:], strict=True)):
        hits = right[start:stop]
        if hits.any():
            precision = hits.cumsum() / np.arange(1, stop - start + 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            found[label] = envelope[hits].sum() / positives[label]
    return found
