"""What a detector knows of the proposals of one image, and the detections that follow from it.

Shapes: N proposals, D numbers a feature, C classes with background at 0, A attributes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bua.detectors.boxes import BoxConvention
from bua.detectors.resize import Frame

Weights = tuple[float, float, float, float]


@dataclass(frozen=True)
class Regression:
    """How class-specific deltas become boxes.

    Attributes:
        weights: by which deltas are divided.
        limit: the largest logarithm of a size applied; none for no limit.
        convention: of box sizes.
        frame: of the image.
    """

    weights: Weights
    limit: float | None
    convention: BoxConvention
    frame: Frame


@dataclass(frozen=True)
class Proposals:
    """The proposals of one image, feature, classes, boxes and attributes of each together.

    Attributes:
        boxes: (N, 4), as proposed, in pixels of the resized image.
        features: (N, D).
        probabilities: (N, C).
        deltas: (N, C, 4).
        attributes: (N, A + 1), probabilities with "no attribute" at 0; none without attribute head.
        regression: how deltas become boxes.
    """

    boxes: Float[Tensor, "N 4"]
    features: Float[Tensor, "N D"]
    probabilities: Float[Tensor, "N C"]
    deltas: Float[Tensor, "N C 4"]
    attributes: Float[Tensor, "N A1"] | None
    regression: Regression

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def photo_boxes(self) -> Float[Tensor, "N 4"]:
        """The proposals in pixels of the photograph."""
        return self.regression.frame.to_photo(self.boxes)

    def regressed(self, index: Int[Tensor, " P"], label: Int[Tensor, " P"]) -> Float[Tensor, "P 4"]:
        """Return proposals as their classes move them, in pixels of the photograph.

        Args:
            index: which proposals.
            label: as which class, background being 0.
        """
        by = self.regression
        boxes = by.convention.decode(
            self.boxes[index], self.deltas[index, label], weights=by.weights, limit=by.limit
        )
        return by.frame.to_photo(by.convention.clip(boxes, by.frame.resized))


def per_image(
    boxes: Sequence[Float[Tensor, "N 4"]],
    features: Float[Tensor, "BN D"],
    logits: Float[Tensor, "BN C"],
    deltas: Float[Tensor, "BN C 4"],
    attributes: Float[Tensor, "BN A1"] | None,
    regressions: Sequence[Regression],
) -> list[Proposals]:
    """Part what was computed for the proposals of a batch end to end, in single precision.

    Args:
        boxes: of each image.
        features: of all proposals, as are the rest.
        logits: of classes.
        deltas: of boxes.
        attributes: probabilities, if there are any.
        regressions: of each image.
    """
    counts = [len(each) for each in boxes]
    parted = zip(
        boxes,
        torch.split(features.float(), counts),
        torch.split(logits.float().softmax(1), counts),
        torch.split(deltas.float(), counts),
        torch.split(attributes.float(), counts) if attributes is not None else [None] * len(boxes),
        regressions,
        strict=True,
    )
    return [Proposals(*each) for each in parted]


def whole_image(like: Tensor, frame: Frame, convention: BoxConvention) -> Float[Tensor, "1 4"]:
    """Return the whole resized image as the only proposal, for photographs too small for any other."""
    height, width = frame.resized
    return like.new_tensor([[0, 0, width - convention.pixel, height - convention.pixel]])


@dataclass(frozen=True)
class Detections:
    """Detected things of one image, best first.

    Attributes:
        boxes: (P, 4), in pixels of the photograph.
        labels: (P,), classes from 1.
        scores: (P,), probabilities.
        index: (P,), the proposal behind each.
    """

    boxes: Float[Tensor, "P 4"]
    labels: Int[Tensor, " P"]
    scores: Float[Tensor, " P"]
    index: Int[Tensor, " P"]

    def __len__(self) -> int:
        return len(self.boxes)


def detections(proposals: Proposals, *, threshold: float, nms_iou: float, limit: int) -> Detections:
    """Return the ``limit`` best regressed boxes over all classes after suppression within each.

    Args:
        proposals: of one image.
        threshold: no detection below this probability.
        nms_iou: overlap at which the worse of two boxes of one class goes.
        limit: at most so many.
    """
    scores = proposals.probabilities[:, 1:]
    # A pair below a level cannot suppress one above it: begin where few pairs are.
    level = max(threshold, 0.05)
    while True:
        found = _above(proposals, scores, level, nms_iou)
        if len(found) >= limit or level <= threshold:
            return Detections(*(part[:limit] for part in vars(found).values()))
        level = max(threshold, level / 4) if level > 1e-9 else threshold


def _above(proposals: Proposals, scores: Tensor, level: float, nms_iou: float) -> Detections:
    index, column = (scores >= level).nonzero(as_tuple=True)
    boxes = proposals.regressed(index, column + 1)
    sound = torch.isfinite(boxes).all(1)
    width, height = proposals.regression.convention.sizes(boxes)
    sound &= (width > 0) & (height > 0)
    index, column, boxes = index[sound], column[sound], boxes[sound]
    values = scores[index, column]
    kept = proposals.regression.convention.nms(boxes, values, nms_iou, groups=column)
    return Detections(boxes[kept], column[kept] + 1, values[kept], index[kept])
