"""Box arithmetic in the two conventions of the field: Caffe's, which counts pixels, and the modern one.

Caffe (Girshick's Faster R-CNN) says that a box from x1 to x2 is x2 - x1 + 1 wide, clips to the last
pixel and suppresses at an overlap of at least the threshold. Newer code says x2 - x1, clips to the
border and suppresses above the threshold. Shapes: N and M boxes as x1 y1 x2 y2, in pixels.
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
    """How boxes are measured.

    Attributes:
        name: ``caffe`` or ``modern``.
        pixel: what is added to x2 - x1 for the width: 1 or 0.
        inclusive: whether an overlap equal to a threshold suppresses.
    """

    name: str
    pixel: int
    inclusive: bool

    CAFFE: ClassVar["BoxConvention"]
    MODERN: ClassVar["BoxConvention"]

    @classmethod
    def named(cls, name: str) -> "BoxConvention":
        """Return the convention of that name.

        Raises:
            ValueError: there is none.
        """
        for convention in (cls.CAFFE, cls.MODERN):
            if convention.name == name:
                return convention
        raise ValueError(f"box_convention must be caffe or modern, not {name}")

    def sizes(self, boxes: Float[Tensor, "*N 4"]) -> tuple[Tensor, Tensor]:
        """Return widths and heights."""
        return (
            boxes[..., 2] - boxes[..., 0] + self.pixel,
            boxes[..., 3] - boxes[..., 1] + self.pixel,
        )

    def decode(
        self,
        boxes: Float[Tensor, "N 4"],
        deltas: Float[Tensor, "N 4"],
        *,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
        limit: float | None = None,
    ) -> Float[Tensor, "N 4"]:
        """Move and stretch boxes by predicted deltas (Girshick et al. 2014, appendix C).

        Args:
            boxes: where from.
            deltas: of the centre in box sizes, and of the sizes as logarithms.
            weights: by which the deltas are divided first.
            limit: the largest logarithm applied; none for no limit.
        """
        width, height = self.sizes(boxes)
        centre_x, centre_y = boxes[:, 0] + 0.5 * width, boxes[:, 1] + 0.5 * height
        dx, dy, dw, dh = (deltas / deltas.new_tensor(weights)).unbind(1)
        if limit is not None:
            dw, dh = dw.clamp(max=limit), dh.clamp(max=limit)
        x, y = dx * width + centre_x, dy * height + centre_y
        half_width, half_height = 0.5 * dw.exp() * width, 0.5 * dh.exp() * height
        return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], 1)

    def encode(
        self,
        boxes: Float[Tensor, "N 4"],
        wanted: Float[Tensor, "N 4"],
        *,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    ) -> Float[Tensor, "N 4"]:
        """Return the deltas that lead from boxes to those wanted, times ``weights``."""
        width, height = self.sizes(boxes)
        new_width, new_height = self.sizes(wanted)
        dx = (wanted[:, 0] + 0.5 * new_width - boxes[:, 0] - 0.5 * width) / width
        dy = (wanted[:, 1] + 0.5 * new_height - boxes[:, 1] - 0.5 * height) / height
        deltas = torch.stack([dx, dy, (new_width / width).log(), (new_height / height).log()], 1)
        return deltas * deltas.new_tensor(weights)

    def clip(self, boxes: Float[Tensor, "N 4"], size: tuple[int, int]) -> Float[Tensor, "N 4"]:
        """Move what leaves an image of height and width ``size`` to its border."""
        height, width = size[0] - self.pixel, size[1] - self.pixel
        x1, y1, x2, y2 = boxes.unbind(-1)
        return torch.stack(
            [x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], -1
        )

    def iou(self, boxes: Float[Tensor, "N 4"], others: Float[Tensor, "M 4"]) -> Float[Tensor, "N M"]:
        """Return intersection over union of every pair."""
        grow = boxes.new_tensor([0, 0, self.pixel, self.pixel])
        overlaps: Tensor = ops.box_iou(boxes + grow, others + grow)
        return overlaps

    def nms(
        self,
        boxes: Float[Tensor, "N 4"],
        scores: Float[Tensor, " N"],
        threshold: float,
        groups: Int[Tensor, " N"] | None = None,
    ) -> Int[Tensor, " K"]:
        """Return what non-maximum suppression keeps, best first; within ``groups`` where given."""
        grown = boxes + boxes.new_tensor([0, 0, self.pixel, self.pixel])
        level = just_below(threshold) if self.inclusive else threshold
        kept: Tensor = (
            ops.nms(grown, scores, level) if groups is None else ops.batched_nms(grown, scores, groups, level)
        )
        return kept


BoxConvention.CAFFE = BoxConvention("caffe", 1, True)
BoxConvention.MODERN = BoxConvention("modern", 0, False)


def just_below(threshold: float) -> float:
    """Return the largest number of single precision below a threshold.

    Above it and at least the threshold are then the same for overlaps of single precision.
    """
    single = np.float32(threshold)
    return float(np.nextafter(single, np.float32(-1)) if float(single) >= threshold else single)
