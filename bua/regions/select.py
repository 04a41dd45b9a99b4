"""Which regions of an image are kept: the selection rule of bottom-up attention.

Anderson et al. 2018, section 3.1, as released: a box is worth the highest probability of any class
for which non-maximum suppression keeps it; boxes worth at least a threshold stay, but no fewer and
no more than given numbers.

Shapes: N proposals, C classes with background at 0.
"""

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_iou

#: Up to so many pairs of box and class the sparse form is the faster one.
SPARSE_PAIRS = 2000


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The numbers of the selection rule.

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
        if not 1 <= self.min_regions <= self.max_regions:
            raise ValueError(
                f"1 <= min_regions <= max_regions is needed, not {self.min_regions} and {self.max_regions}"
            )
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], not {self.threshold}")

    def describe(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)

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
