"""Measure attention grounding: does a model attend to the objects that its words name?

The region with the largest attention weight is compared with the boxes of the objects that a word
names, or that a question is about, in two ways: by overlap, with an intersection over union (IoU) of at
least 0.5; and by the pointing game (Zhang et al. 2016, "Top-down Neural Attention by Excitation
Backprop", section 4.1), where the center of the region must lie in one of the boxes, which also suits
grid cells. If several regions share the largest weight, the score is their mean, so that uniform
attention scores exactly as chance does.

Shapes: K regions of the image, M object boxes.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Attention of one word or question: weights over the regions (K,), boxes of the regions (K, 4) and
#: boxes of the objects (M, 4).
AttendedWord = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]


class Grounding(NamedTuple):
    """Grounding scores, means over words or questions.

    Attributes:
        iou_accuracy: Fraction for which the most attended region overlaps an object.
        iou_chance: The same for a region chosen at random.
        pointing_accuracy: Fraction for which the center of the most attended region lies in an object.
        pointing_chance: The same for a region chosen at random.
        attention_mass: Attention on the regions whose centers lie in an object, 0 to 1.
        num_samples: Number of words or questions.
    """

    iou_accuracy: float
    iou_chance: float
    pointing_accuracy: float
    pointing_chance: float
    attention_mass: float
    num_samples: int


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the intersection over union of all pairs of boxes.

    Args:
        a: Boxes as x1 y1 x2 y2, shape (N, 4).
        b: Boxes as x1 y1 x2 y2, shape (M, 4).

    Returns:
        Shape (N, M).
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = (high - low).clip(min=0).prod(-1).astype(np.float64)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clip(min=0).prod(-1) for x in (a, b))
    union = area_a[:, None] + area_b[None, :] - intersection
    ratios: NDArray[np.float64] = np.divide(
        intersection, union, out=np.zeros_like(intersection), where=union > 0
    )
    return ratios


def center_inside(regions: NDArray[np.floating], objects: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return whether the center of each region (K, 4) lies in any of the object boxes (M, 4)."""
    centers = (regions[:, None, :2] + regions[:, None, 2:]) / 2
    within = (centers >= objects[None, :, :2]) & (centers <= objects[None, :, 2:])
    result: NDArray[np.bool_] = np.any(np.all(within, axis=-1), axis=1)
    return result


def grounding(attended: Iterable[AttendedWord], threshold: float = 0.5) -> Grounding:
    """Compute the grounding scores of attended words or questions.

    Args:
        attended: Attention of every word that names an object, or of every question.
        threshold: Minimum IoU at which a region overlaps an object.
    """
    rows = []
    for weights, regions, objects in attended:
        overlaps, inside = iou(regions, objects).max(1) >= threshold, center_inside(regions, objects)
        most_attended = weights == weights.max()
        mass = float(weights @ inside / weights.sum())
        rows.append(
            (
                overlaps[most_attended].mean(),
                overlaps.mean(),
                inside[most_attended].mean(),
                inside.mean(),
                mass,
            )
        )
    if not rows:
        return Grounding(0.0, 0.0, 0.0, 0.0, 0.0, 0)
    iou_accuracy, iou_chance, pointing_accuracy, pointing_chance, mass = np.mean(rows, axis=0).tolist()
    return Grounding(iou_accuracy, iou_chance, pointing_accuracy, pointing_chance, mass, len(rows))
