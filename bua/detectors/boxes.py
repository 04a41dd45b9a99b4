"""Box arithmetic in the two conventions of the field: Caffe's, which counts pixels, and the modern one.

In Caffe (Girshick's Faster R-CNN) a box from x1 to x2 is x2 - x1 + 1 wide, is clipped to the last pixel,
and suppresses others at an overlap of at least the threshold. Newer code takes x2 - x1 as the width, clips
to the image border, and suppresses above the threshold.

Shapes: N and M boxes as x1 y1 x2 y2, in pixels.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision import ops


@dataclass(frozen=True)
class BoxConvention:
    """Convention for the size, clipping and suppression of boxes.

    Attributes:
        name: ``caffe`` or ``modern``.
        offset: Pixels added to x2 - x1 to get the width, 1 or 0.
        inclusive: Whether an overlap equal to the threshold suppresses a box.
    """

    name: str
    offset: int
    inclusive: bool

    CAFFE: ClassVar["BoxConvention"]
    MODERN: ClassVar["BoxConvention"]

    @classmethod
    def from_name(cls, name: str) -> "BoxConvention":
        """Return the convention called ``name``.

        Raises:
            ValueError: If there is no such convention.
        """
        for convention in (cls.CAFFE, cls.MODERN):
            if convention.name == name:
                return convention
        raise ValueError(f"box_convention must be caffe or modern, got {name}")

    def sizes(self, boxes: Float[Tensor, "*N 4"]) -> tuple[Tensor, Tensor]:
        """Return the widths and heights of boxes."""
        return (
            boxes[..., 2] - boxes[..., 0] + self.offset,
            boxes[..., 3] - boxes[..., 1] + self.offset,
        )

    def decode(
        self,
        boxes: Float[Tensor, "N 4"],
        deltas: Float[Tensor, "N 4"],
        *,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
        max_log_scale: float | None = None,
    ) -> Float[Tensor, "N 4"]:
        """Apply predicted deltas to boxes (Girshick et al. 2014, appendix C).

        Args:
            boxes: Boxes to start from.
            deltas: Shifts of the center in units of the box size, and logarithms of the size ratios.
            weights: Numbers that the deltas are divided by first.
            max_log_scale: Upper limit for the logarithms of the size ratios, or None for no limit.
        """
        width, height = self.sizes(boxes)
        center_x, center_y = boxes[:, 0] + 0.5 * width, boxes[:, 1] + 0.5 * height
        dx, dy, dw, dh = (deltas / deltas.new_tensor(weights)).unbind(1)
        if max_log_scale is not None:
            dw, dh = dw.clamp(max=max_log_scale), dh.clamp(max=max_log_scale)
        x, y = dx * width + center_x, dy * height + center_y
        half_width, half_height = 0.5 * dw.exp() * width, 0.5 * dh.exp() * height
        return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], 1)

    def encode(
        self,
        boxes: Float[Tensor, "N 4"],
        targets: Float[Tensor, "N 4"],
        *,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    ) -> Float[Tensor, "N 4"]:
        """Return the deltas from ``boxes`` to ``targets``, multiplied by ``weights``."""
        width, height = self.sizes(boxes)
        target_width, target_height = self.sizes(targets)
        dx = (targets[:, 0] + 0.5 * target_width - boxes[:, 0] - 0.5 * width) / width
        dy = (targets[:, 1] + 0.5 * target_height - boxes[:, 1] - 0.5 * height) / height
        deltas = torch.stack([dx, dy, (target_width / width).log(), (target_height / height).log()], 1)
        return deltas * deltas.new_tensor(weights)

    def clip(self, boxes: Float[Tensor, "N 4"], size: tuple[int, int]) -> Float[Tensor, "N 4"]:
        """Clip boxes to an image of height and width ``size``."""
        height, width = size[0] - self.offset, size[1] - self.offset
        x1, y1, x2, y2 = boxes.unbind(-1)
        return torch.stack(
            [x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], -1
        )

    def iou(self, boxes: Float[Tensor, "N 4"], others: Float[Tensor, "M 4"]) -> Float[Tensor, "N M"]:
        """Return the intersection over union of every pair of boxes."""
        offset = boxes.new_tensor([0, 0, self.offset, self.offset])
        overlaps: Tensor = ops.box_iou(boxes + offset, others + offset)
        return overlaps

    def nms(
        self,
        boxes: Float[Tensor, "N 4"],
        scores: Float[Tensor, " N"],
        threshold: float,
        groups: Int[Tensor, " N"] | None = None,
    ) -> Int[Tensor, " K"]:
        """Return the indices of the boxes that non-maximum suppression keeps, best first.

        Args:
            boxes: Boxes to choose from.
            scores: Score of each box.
            threshold: IoU from which (Caffe) or above which (modern) the worse of two boxes is dropped.
            groups: Group of each box; only boxes of the same group suppress each other. Default: one group.
        """
        offset_boxes = boxes + boxes.new_tensor([0, 0, self.offset, self.offset])
        iou = just_below(threshold) if self.inclusive else threshold
        kept: Tensor = (
            ops.nms(offset_boxes, scores, iou)
            if groups is None
            else ops.batched_nms(offset_boxes, scores, groups, iou)
        )
        return kept


BoxConvention.CAFFE = BoxConvention("caffe", 1, True)
BoxConvention.MODERN = BoxConvention("modern", 0, False)


def just_below(threshold: float) -> float:
    """Return the largest single-precision number below a threshold.

    A single-precision overlap is above this number exactly when it is at least the threshold.
    """
    single = np.float32(threshold)
    return float(np.nextafter(single, np.float32(-1)) if float(single) >= threshold else single)
