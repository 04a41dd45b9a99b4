"""Proposals of a detector with their predictions, and the rules that select regions among them.

In Anderson et al. 2018, section 3.1, as released, the score of a box is the highest probability of any
class for which non-maximum suppression keeps the box. Boxes with a score of at least a threshold are kept,
but no fewer and no more than given numbers of them.

Shapes: N proposals, D numbers of a feature, C classes (with background at 0 in class probabilities),
A attributes, P detections, K selected regions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_iou

from bua.detectors.boxes import BoxConvention
from bua.detectors.photo import ResizeGeometry

#: Maximum number of (box, class) pairs for which the sparse form is the faster one.
SPARSE_PAIRS = 2000

Weights = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxRegression:
    """Parameters for decoding the class-specific box deltas of one image.

    Attributes:
        weights: Numbers that the deltas are divided by.
        max_log_scale: Upper limit for the logarithms of the size ratios, or None for no limit.
        convention: Convention for box sizes.
        geometry: Sizes of the image before and after resizing.
    """

    weights: Weights
    max_log_scale: float | None
    convention: BoxConvention
    geometry: ResizeGeometry


@dataclass(frozen=True)
class Proposals:
    """Proposals of one image, each with its feature, class and attribute probabilities, and box deltas.

    Attributes:
        boxes: Proposed boxes, shape (N, 4), in pixels of the resized image.
        features: Region features, shape (N, D).
        probabilities: Class probabilities, shape (N, C).
        deltas: Class-specific box deltas, shape (N, C, 4).
        attributes: Attribute probabilities, shape (N, A + 1), with "no attribute" at 0; None if the
            detector has no attribute head.
        regression: Parameters for decoding the deltas.
    """

    boxes: Float[Tensor, "N 4"]
    features: Float[Tensor, "N D"]
    probabilities: Float[Tensor, "N C"]
    deltas: Float[Tensor, "N C 4"]
    attributes: Float[Tensor, "N A1"] | None
    regression: BoxRegression

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def original_boxes(self) -> Float[Tensor, "N 4"]:
        """Proposed boxes in pixels of the original image."""
        return self.regression.geometry.to_original(self.boxes)

    def decode_boxes(self, index: Int[Tensor, " P"], labels: Int[Tensor, " P"]) -> Float[Tensor, "P 4"]:
        """Return regressed boxes in pixels of the original image.

        Args:
            index: Indices of proposals.
            labels: Class whose deltas are applied to each of them; background is 0.
        """
        regression = self.regression
        boxes = regression.convention.decode(
            self.boxes[index],
            self.deltas[index, labels],
            weights=regression.weights,
            max_log_scale=regression.max_log_scale,
        )
        geometry = regression.geometry
        return geometry.to_original(regression.convention.clip(boxes, geometry.resized_size))


def split_by_image(
    boxes: Sequence[Float[Tensor, "N 4"]],
    features: Float[Tensor, "BN D"],
    logits: Float[Tensor, "BN C"],
    deltas: Float[Tensor, "BN C 4"],
    attributes: Float[Tensor, "BN A1"] | None,
    regressions: Sequence[BoxRegression],
) -> list[Proposals]:
    """Split the predictions for the proposals of a batch into those of each image, in single precision.

    Args:
        boxes: Proposed boxes of each image.
        features: Features of the proposals of all images, one image after the other.
        logits: Class logits of the same proposals.
        deltas: Box deltas of the same proposals.
        attributes: Attribute probabilities of the same proposals, if the detector predicts them.
        regressions: Parameters for decoding the deltas of each image.
    """
    counts = [len(image_boxes) for image_boxes in boxes]
    split = zip(
        boxes,
        torch.split(features.float(), counts),
        torch.split(logits.float().softmax(1), counts),
        torch.split(deltas.float(), counts),
        torch.split(attributes.float(), counts) if attributes is not None else [None] * len(boxes),
        regressions,
        strict=True,
    )
    return [Proposals(*fields) for fields in split]


def whole_image_box(
    like: Tensor, geometry: ResizeGeometry, convention: BoxConvention
) -> Float[Tensor, "1 4"]:
    """Return the box of the whole resized image, the only proposal of an image too small for others."""
    height, width = geometry.resized_size
    return like.new_tensor([[0, 0, width - convention.offset, height - convention.offset]])


@dataclass(frozen=True)
class Detections:
    """Detected objects of one image, best first.

    Attributes:
        boxes: Regressed boxes, shape (P, 4), in pixels of the original image.
        labels: Classes, shape (P,), counted from 1.
        scores: Class probabilities, shape (P,).
        index: Indices of the proposals that the detections come from, shape (P,).
    """

    boxes: Float[Tensor, "P 4"]
    labels: Int[Tensor, " P"]
    scores: Float[Tensor, " P"]
    index: Int[Tensor, " P"]

    def __len__(self) -> int:
        return len(self.boxes)


def postprocess_detections(
    proposals: Proposals, *, score_threshold: float, nms_iou: float, max_detections: int
) -> Detections:
    """Return the best regressed boxes over all classes, after non-maximum suppression within each class.

    Args:
        proposals: Proposals of one image.
        score_threshold: Minimum class probability of a detection.
        nms_iou: Overlap at which the worse of two boxes of one class is dropped.
        max_detections: Maximum number of detections.
    """
    scores = proposals.probabilities[:, 1:]
    # A score below the threshold cannot suppress one above it, so start where there are few candidates.
    threshold = max(score_threshold, 0.05)
    while True:
        found = _detections_above(proposals, scores, threshold, nms_iou)
        if len(found) >= max_detections or threshold <= score_threshold:
            return Detections(*(column[:max_detections] for column in vars(found).values()))
        threshold = max(score_threshold, threshold / 4) if threshold > 1e-9 else score_threshold


def _detections_above(proposals: Proposals, scores: Tensor, threshold: float, nms_iou: float) -> Detections:
    convention = proposals.regression.convention
    index, column = (scores >= threshold).nonzero(as_tuple=True)
    boxes = proposals.decode_boxes(index, column + 1)
    width, height = convention.sizes(boxes)
    valid = torch.isfinite(boxes).all(1) & (width > 0) & (height > 0)
    index, column, boxes = index[valid], column[valid], boxes[valid]
    values = scores[index, column]
    kept = convention.nms(boxes, values, nms_iou, groups=column)
    return Detections(boxes[kept], column[kept] + 1, values[kept], index[kept])


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
