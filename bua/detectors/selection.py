"""Rules that select which proposals become regions, among them that of bottom-up attention.

In Anderson et al. 2018, section 3.1, as released, the score of a box is the highest probability of any
class for which non-maximum suppression keeps the box. Boxes with a score of at least a threshold are kept,
but no fewer and no more than given numbers of them.

Shapes: N proposals, C classes (with background at 0 in class probabilities), K selected regions.
"""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_iou

from bua.detectors.boxes import BoxConvention
from bua.detectors.proposals import Proposals

#: Maximum number of (box, class) pairs for which the sparse form is the faster one.
SPARSE_PAIRS = 2000


class SelectionRule(Protocol):
    """A rule that selects proposals as regions and gives each its box."""

    def select(self, proposals: Proposals) -> tuple[Int[Tensor, " K"], Float[Tensor, "K 4"]]:
        """Return the indices of the selected proposals and their boxes in pixels of the original image."""

    def configuration(self) -> dict[str, Any]:
        """Return the class name and the arguments, from which this rule can be built again."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The paper's rule: suppression within each class, boxes as proposed.

    Attributes:
        min_regions: Minimum number of regions, as far as there are proposals.
        max_regions: Maximum number of regions.
        threshold: Minimum score of a region, where the two numbers do not decide.
        nms_iou: Overlap from which a box is suppressed by a better one of its class.
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
        """Return the class name and the arguments, from which this rule can be built again."""
        return {"class": "Selection", **asdict(self)}

    def select(self, proposals: Proposals) -> tuple[Int[Tensor, " K"], Float[Tensor, "K 4"]]:
        """Return the indices of the selected proposals and their boxes in pixels of the original image."""
        boxes = proposals.original_boxes
        kept, _ = self(boxes, proposals.probabilities)
        return kept, boxes[kept]

    def __call__(
        self, boxes: Float[Tensor, "N 4"], probabilities: Float[Tensor, "N C"]
    ) -> tuple[Int[Tensor, " K"], Float[Tensor, " K"]]:
        """Return the indices and the scores of the selected boxes.

        They are in the order of the proposals where the threshold decides, and in that of their scores
        (best first) where one of the two numbers does.
        """
        scores = self._scores(boxes, probabilities)
        kept = (scores >= self.threshold).nonzero().squeeze(1)
        if not self.min_regions <= len(kept) <= self.max_regions:
            count = self.min_regions if len(kept) < self.min_regions else self.max_regions
            kept = scores.argsort(descending=True, stable=True)[:count]
        return kept, scores[kept]

    def _scores(self, boxes: Tensor, probabilities: Tensor) -> Tensor:
        """Return box scores that are exact for every box that the rule may select.

        A (box, class) pair below some level can neither raise the score of a box to that level nor
        suppress a pair above it, so suppression among the pairs above the level is exact there. The level
        is halved until enough boxes reach it, or until there are so many pairs above it that the dense
        form costs no more.
        """
        level, enough = self.threshold, min(self.min_regions, len(boxes))
        class_scores, overlaps = probabilities[:, 1:], self._overlaps(boxes)
        while int((class_scores >= level).sum()) <= SPARSE_PAIRS and level > 1e-12:
            scores = suppress_sparse(overlaps, class_scores, level)
            if int((scores >= level).sum()) >= enough:
                return scores
            level /= 2
        return suppress_dense(overlaps, class_scores)

    def _overlaps(self, boxes: Tensor) -> Tensor:
        offset_boxes = boxes + boxes.new_tensor([0, 0, self.pixel, self.pixel])
        overlaps: Tensor = box_iou(offset_boxes, offset_boxes) >= self.nms_iou
        return overlaps


@dataclass(frozen=True, kw_only=True)
class ClassAgnosticSelection:
    """One suppression over all classes by the best class of each box, boxes as proposed.

    This is VinVL's fast filter (Zhang et al. 2021, appendix): boxes with a score of at least the threshold
    are kept, best first, but no fewer and no more than given numbers of them.

    Attributes:
        min_regions: Minimum number of regions, as far as suppression leaves them.
        max_regions: Maximum number of regions.
        threshold: Minimum class probability of a region, where the two numbers do not decide.
        nms_iou: Overlap above which a box is suppressed by a better one.
    """

    min_regions: int
    max_regions: int
    threshold: float
    nms_iou: float

    def __post_init__(self) -> None:
        _check(self.min_regions, self.max_regions, self.threshold)

    def configuration(self) -> dict[str, Any]:
        """Return the class name and the arguments, from which this rule can be built again."""
        return {"class": "ClassAgnosticSelection", **asdict(self)}

    def select(self, proposals: Proposals) -> tuple[Int[Tensor, " K"], Float[Tensor, "K 4"]]:
        """Return the indices of the selected proposals, best first, and their boxes in the original image."""
        boxes, scores = proposals.original_boxes, proposals.probabilities[:, 1:].amax(1)
        kept = BoxConvention.MODERN.nms(boxes, scores, self.nms_iou)
        above = int((scores[kept] >= self.threshold).sum())
        kept = kept[: min(max(above, self.min_regions), self.max_regions)]
        return kept, boxes[kept]


@dataclass(frozen=True, kw_only=True)
class ArgmaxSelection:
    """Boxes regressed to their best class, and one suppression, relaxed until enough of them are left.

    This is the rule of airsplay's extraction: overlaps of 0.3, 0.4 ... 0.9 are tried in turn. The features
    are those of the proposals, not of the regressed boxes.

    Attributes:
        regions: Number of regions, as far as suppression at the last overlap leaves them.
    """

    regions: int

    def __post_init__(self) -> None:
        _check(1, self.regions, 1.0)

    def configuration(self) -> dict[str, Any]:
        """Return the class name and the arguments, from which this rule can be built again."""
        return {"class": "ArgmaxSelection", **asdict(self)}

    def select(self, proposals: Proposals) -> tuple[Int[Tensor, " K"], Float[Tensor, "K 4"]]:
        """Return the indices of the selected proposals, best first, and their regressed boxes."""
        scores, labels = proposals.probabilities[:, 1:].max(1)
        kept = index = torch.arange(len(proposals), device=scores.device)
        boxes = proposals.decode_boxes(index, labels + 1)
        for tenths in range(3, 10):
            kept = BoxConvention.MODERN.nms(boxes, scores, tenths / 10)
            if len(kept) >= self.regions:
                break
        kept = kept[: self.regions]
        return kept, boxes[kept]


def _check(min_regions: int, max_regions: int, threshold: float) -> None:
    if not 1 <= min_regions <= max_regions:
        raise ValueError(
            f"selection needs 1 <= min_regions <= max_regions, got {min_regions} and {max_regions}"
        )
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")


def suppress_sparse(
    overlaps: Bool[Tensor, "N N"], scores: Float[Tensor, "N C"], level: float
) -> Float[Tensor, " N"]:
    """Suppress boxes within each class, considering only the P scores of at least ``level``.

    Memory grows with the square of P.

    Args:
        overlaps: Whether each two boxes overlap enough to suppress each other.
        scores: Class probabilities, without background.
        level: Minimum score to consider.

    Returns:
        The highest score of each box that survives, or 0 if none does.
    """
    box, label = (scores >= level).nonzero(as_tuple=True)
    values = scores[box, label]
    order = values.argsort(descending=True, stable=True)
    box, label, values = box[order], label[order], values[order]
    suppresses = (overlaps[box][:, box] & (label[:, None] == label[None, :])).triu(1)
    alive = torch.ones(len(box), dtype=torch.bool, device=scores.device)
    for i in suppresses.any(1).nonzero().squeeze(1).tolist():
        if alive[i]:
            alive &= ~suppresses[i]
    return scores.new_zeros(len(overlaps)).scatter_reduce(0, box[alive], values[alive], "amax")


def suppress_dense(overlaps: Bool[Tensor, "N N"], scores: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """Suppress boxes within each class over all scores, all classes at once, one rank after the other.

    Args:
        overlaps: Whether each two boxes overlap enough to suppress each other.
        scores: Class probabilities, without background.

    Returns:
        The highest score of each box that survives, or 0 if none does.
    """
    count, classes = scores.shape
    order = scores.argsort(dim=0, descending=True, stable=True)
    column = torch.arange(classes, device=scores.device)
    alive = torch.ones_like(scores, dtype=torch.bool)
    survives = torch.zeros_like(alive)
    for rank in range(count):
        best = order[rank]
        kept = alive[best, column]
        survives[best[kept], column[kept]] = True
        alive &= ~(overlaps[best] & kept[:, None]).T
    return scores.masked_fill(~survives, 0).amax(1) if classes else scores.new_zeros(count)
