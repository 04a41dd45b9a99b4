"""Proposals of one image with their predictions, and the detections that follow from them.

Shapes: N proposals, D numbers a feature, C classes with background at 0, A attributes, P detections.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bua.detectors.boxes import BoxConvention
from bua.detectors.resize import ResizeGeometry

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
