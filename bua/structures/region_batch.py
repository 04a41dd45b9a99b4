"""Regions of a batch of images, the input of all models.

Shapes: B images, K regions (padded), D region features.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class RegionBatch(NamedTuple):
    """Regions of a batch of images, padded to the largest number of regions.

    Attributes:
        features: Region features; zeros on padding.
        mask: True where a region is real, false on padding; every image has at least one region.
        boxes: Corners x1 y1 x2 y2 relative to the width and height of the image, from 0 to 1; zeros on
            padding.
    """

    features: Float[Tensor, "B K D"]
    mask: Bool[Tensor, "B K"]
    boxes: Float[Tensor, "B K 4"]

    def to(self, device: torch.device | str) -> "RegionBatch":
        """Return the batch on another device; the copy to a GPU is asynchronous if memory is pinned."""
        non_blocking = torch.device(device).type == "cuda"
        return RegionBatch(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))
