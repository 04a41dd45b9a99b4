"""Does attention look at what is named?

The region that was looked at most is compared with the boxes of the things that a word names, or that a
question is about, in two ways: it overlaps one of them with an intersection over union of at least 0.5;
or its middle lies in one of them, the pointing game (Zhang et al. 2016, "Top-down Neural Attention by
Excitation Backprop", section 4.1), which cells of a grid can win, too. Of several regions looked at
alike, each counts for its share, so that equal weights score what chance does.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Weights (K,), the boxes of the regions (K, 4) and those that are named (M, 4).
AttendedWord = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]


class Grounding(NamedTuple):
    """Shares of the looks that were right.

    Attributes:
        share: the region most looked at overlaps what is named.
        chance: the same of a region chosen at random.
        pointed: its middle lies in what is named.
        pointed_chance: the same of a region chosen at random.
        mass: of the weights of all regions, so much is on those whose middle lies in what is named.
        looks: how many there are.
    """

    share: float
    chance: float
    pointed: float
    pointed_chance: float
    mass: float
    looks: int


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return intersection over union of boxes (N, 4) and (M, 4), x1 y1 x2 y2, as (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = (high - low).clip(min=0).prod(-1).astype(np.float64)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clip(min=0).prod(-1) for x in (a, b))
    union = area_a[:, None] + area_b[None, :] - inside
    shares: NDArray[np.float64] = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return shares


def inside(regions: NDArray[np.floating], named: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Say whether the middle of each region (K, 4) lies in any of the boxes (M, 4)."""
    middles = (regions[:, None, :2] + regions[:, None, 2:]) / 2
    within = (middles >= named[None, :, :2]) & (middles <= named[None, :, 2:])
    found: NDArray[np.bool_] = np.any(np.all(within, axis=-1), axis=1)
    return found


def grounding(looks: Iterable[AttendedWord], threshold: float = 0.5) -> Grounding:
    """Measure how often what is named is looked at.

    Args:
        looks: one for every word or question that names something.
        threshold: intersection over union from which a region overlaps what is named.
    """
    rows = []
    for weights, regions, named in looks:
        overlaps, holds = iou(regions, named).max(1) >= threshold, inside(regions, named)
        most = weights == weights.max()
        mass = float(weights @ holds / weights.sum())
        rows.append((overlaps[most].mean(), overlaps.mean(), holds[most].mean(), holds.mean(), mass))
    if not rows:
        return Grounding(0.0, 0.0, 0.0, 0.0, 0.0, 0)
    share, chance, pointed, pointed_chance, mass = np.mean(rows, axis=0).tolist()
    return Grounding(share, chance, pointed, pointed_chance, mass, len(rows))
