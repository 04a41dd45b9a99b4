"""Which regions of an image are kept: the selection rule of bottom-up attention.

Anderson et al. 2018, section 3.1, as released: a box is worth the highest probability of any class
for which non-maximum suppression keeps it; boxes worth at least a threshold stay, but no fewer and
no more than given numbers.

Shapes: N proposals, C classes with background at 0.
"""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_iou

from bua.detectors.boxes import BoxConvention
from bua.detectors.proposals import Proposals

#: Up to so many pairs of box and class the sparse form is the faster one.
SPARSE_PAIRS = 2000


class SelectionRule(Protocol):
    """Says which proposals become regions, and with which boxes."""

    def select(self, proposals: Proposals) -> tuple[Int[Tensor, " K"], Float[Tensor, "K 4"]]:
        """Return indices of proposals and their boxes in pixels of the photograph."""

    def configuration(self) -> dict[str, Any]:
        """Return ``type`` and the arguments."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The rule of the paper: suppression within every class, boxes as they were proposed.

    Attributes:
        min_regions: at least so many regions, as far as there are proposals.
        max_regions: at most so many.
        threshold: a region is worth keeping from this class probability on.
        nms_iou: a box is suppressed by a better one of its class from this overlap on.
        pixel: 1 for Caffe's box sizes (x2 - x1 + 1), 0 for x2 - x1.
    """

    min_regions: int
    max_regions: int
    threshold: float
    nms_iou: float
    pixel: int

    def __post_init__(self) -> None:
        _check(self.min_regions, self.max_regions, self.threshold)

    def configuration(self) -> dict[str, Any]:
        """Return ``type`` and the arguments."""
        return {"type": "Selection", **asdict(self)}

    def select(self, proposals: Proposals) -> tuple[Int[Tensor, " K"], Float[Tensor, "K 4"]]:
        """Return indices of proposals and their boxes, in pixels of the photograph."""
        boxes = proposals.photo_boxes
        kept, _ = self(boxes, proposals.probabilities)
        return kept, boxes[kept]

    def __call__(
        self, boxes: Float[Tensor, "N 4"], probabilities: Float[Tensor, "N C"]
    ) -> tuple[Int[Tensor, " K"], Float[Tensor, " K"]]:
        """Return the indices of the regions kept and what each is worth.

        Order: by proposal where the threshold decides, by worth (best first) where one of the
        two numbers does.
        """
        worth = self._worth_at(boxes, probabilities)
        kept = (worth >= self.threshold).nonzero().squeeze(1)
        if not self.min_regions <= len(kept) <= self.max_regions:
            count = self.min_regions if len(kept) < self.min_regions else self.max_regions
            kept = worth.argsort(descending=True, stable=True)[:count]
        return kept, worth[kept]

    def _worth_at(self, boxes: Tensor, probabilities: Tensor) -> Tensor:
        """Return worths that are exact for every region that the rule may keep.

        A pair (box, class) below a level neither lifts a box to it nor suppresses a pair above
        it, so suppression over the pairs above the level is exact there. The level is halved
        until enough boxes reach it, or until so many pairs do that all of them cost no more.
        """
        level, wanted = self.threshold, min(self.min_regions, len(boxes))
        scores, overlaps = probabilities[:, 1:], self._overlaps(boxes)
        while int((scores >= level).sum()) <= SPARSE_PAIRS and level > 1e-12:
            worth = suppress_sparse(overlaps, scores, level)
            if int((worth >= level).sum()) >= wanted:
                return worth
            level /= 2
        return suppress_dense(overlaps, scores)

    def _overlaps(self, boxes: Tensor) -> Tensor:
        grown = boxes + boxes.new_tensor([0, 0, self.pixel, self.pixel])
        overlaps: Tensor = box_iou(grown, grown) >= self.nms_iou
        return overlaps


@dataclass(frozen=True, kw_only=True)
class ClassAgnosticSelection:
    """One suppression over all classes, by the best class of each box, boxes as they were proposed.

    VinVL's fast filter (Zhang et al. 2021, appendix): those worth the threshold stay, best first,
    but no fewer and no more than given numbers.

    Attributes:
        min_regions: at least so many regions, as far as suppression leaves them.
        max_regions: at most so many.
        threshold: a region is worth keeping from this class probability on.
        nms_iou: a box is suppressed by a better one above this overlap.
    """

    min_regions: int
    max_regions: int
    threshold: float
    nms_iou: float

    def __post_init__(self) -> None:
        _check(self.min_regions, self.max_regions, self.threshold)

    def configuration(self) -> dict[str, Any]:
        """Return ``type`` and the arguments."""
        return {"type": "ClassAgnosticSelection", **asdict(self)}

    def select(self, proposals: Proposals) -> tuple[Int[Tensor, " K"], Float[Tensor, "K 4"]]:
        """Return indices of proposals, best first, and their boxes in pixels of the photograph."""
        boxes, worth = proposals.photo_boxes, proposals.probabilities[:, 1:].amax(1)
        kept = BoxConvention.MODERN.nms(boxes, worth, self.nms_iou)
        enough = int((worth[kept] >= self.threshold).sum())
        kept = kept[: min(max(enough, self.min_regions), self.max_regions)]
        return kept, boxes[kept]


@dataclass(frozen=True, kw_only=True)
class ArgmaxSelection:
    """Boxes regressed to their best class, one suppression over all, loosened until enough are left.

    The rule of airsplay's extraction: overlaps of 0.3, 0.4 ... 0.9 are tried in turn. The features
    are those of the proposals, the boxes are not.

    Attributes:
        regions: how many, as far as suppression at the last overlap leaves them.
    """

    regions: int

    def __post_init__(self) -> None:
        _check(1, self.regions, 1.0)

    def configuration(self) -> dict[str, Any]:
        """Return ``type`` and the arguments."""
        return {"type": "ArgmaxSelection", **asdict(self)}

    def select(self, proposals: Proposals) -> tuple[Int[Tensor, " K"], Float[Tensor, "K 4"]]:
        """Return indices of proposals, best first, and their regressed boxes."""
        worth, label = proposals.probabilities[:, 1:].max(1)
        every = torch.arange(len(proposals), device=worth.device)
        boxes = proposals.regressed(every, label + 1)
        kept = every
        for tenths in range(3, 10):
            kept = BoxConvention.MODERN.nms(boxes, worth, tenths / 10)
            if len(kept) >= self.regions:
                break
        kept = kept[: self.regions]
        return kept, boxes[kept]


def _check(min_regions: int, max_regions: int, threshold: float) -> None:
    if not 1 <= min_regions <= max_regions:
        raise ValueError(f"1 <= min_regions <= max_regions is needed, not {min_regions} and {max_regions}")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], not {threshold}")


def suppress_sparse(
    overlaps: Bool[Tensor, "N N"], scores: Float[Tensor, "N C"], level: float
) -> Float[Tensor, " N"]:
    """Suppress within every class, looking only at the P scores of at least ``level``.

    Memory grows with P squared.

    Returns:
        For each box the highest score that survives, 0 where none does.
    """
    box, label = (scores >= level).nonzero(as_tuple=True)
    values = scores[box, label]
    order = values.argsort(descending=True, stable=True)
    box, label, values = box[order], label[order], values[order]
    kills = (overlaps[box][:, box] & (label[:, None] == label[None, :])).triu(1)
    alive = torch.ones(len(box), dtype=torch.bool, device=scores.device)
    for i in kills.any(1).nonzero().squeeze(1).tolist():
        if alive[i]:
            alive &= ~kills[i]
    return scores.new_zeros(len(overlaps)).scatter_reduce(0, box[alive], values[alive], "amax")


def suppress_dense(overlaps: Bool[Tensor, "N N"], scores: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """Suppress within every class over all scores, all classes at once, one rank after the other.

    Returns:
        For each box the highest score that survives, 0 where none does.
    """
    count, classes = scores.shape
    order = scores.argsort(dim=0, descending=True, stable=True)
    column = torch.arange(classes, device=scores.device)
    alive = torch.ones_like(scores, dtype=torch.bool)
    survives = torch.zeros_like(alive)
    for rank in range(count):
        best = order[rank]
        standing = alive[best, column]
        survives[best[standing], column[standing]] = True
        alive &= ~(overlaps[best] & standing[:, None]).T
    return scores.masked_fill(~survives, 0).amax(1) if classes else scores.new_zeros(count)
