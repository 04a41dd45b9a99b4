"""What a model sees of the regions of a batch of images.

Shapes: B images, K regions (padded), D region features.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class RegionBatch(NamedTuple):
    """The regions of several images side by side.

    Attributes:
        features: zeros where there is no region.
        mask: true where there is one; every image has at least one.
        boxes: corners x1 y1 x2 y2 as shares of the image's width and height, zeros where there is
            no region.
    """

    features: Float[Tensor, "B K D"]
    mask: Bool[Tensor, "B K"]
    boxes: Float[Tensor, "B K 4"]

    def to(self, device: torch.device | str) -> "RegionBatch":
        """Return the same on another device; a GPU copies it meanwhile, where its memory is pinned."""
        meanwhile = torch.device(device).type == "cuda"
        return RegionBatch(*(tensor.to(device, non_blocking=meanwhile) for tensor in self))
