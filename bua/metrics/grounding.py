"""Does attention look at what a word names?

A word with boxes is grounded if the region that it looked at most overlaps one of them with an
intersection over union of at least 0.5.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Grounding(NamedTuple):
    """Share of grounded words, the share of a region chosen at random, and the number of words."""

    share: float
    chance: float
    words: int


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return intersection over union of boxes (N, 4) and (M, 4), x1 y1 x2 y2, as (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = (high - low).clip(min=0).prod(-1).astype(np.float64)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clip(min=0).prod(-1) for x in (a, b))
    union = area_a[:, None] + area_b[None, :] - inside
    shares: NDArray[np.float64] = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return shares


def grounding(
    looks: Iterable[tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]],
    threshold: float = 0.5,
) -> Grounding:
    """Measure how often the most attended region is one that the word names.

    Args:
        looks: for every word with a box, its weights (K,), the regions' boxes (K, 4) and the
            boxes that it names (M, 4).
        threshold: intersection over union from which a region counts.
    """
    hits, chances = [], []
    for weights, regions, named in looks:
        good = iou(regions, named).max(1) >= threshold
        hits.append(bool(good[int(np.argmax(weights))]))
        chances.append(float(good.mean()))
    if not hits:
        return Grounding(0.0, 0.0, 0)
    return Grounding(float(np.mean(hits)), float(np.mean(chances)), len(hits))
