"""Resizing of an image for a detector, by the two rules of the field, and mapping boxes back.

Caffe's rule (Anderson et al. 2018, as released) uses one scale for both axes, rounds the sides, and samples
at exactly that scale. torchvision's rule rounds the sides down and then uses a separate scale for each axis.
Both sample bilinearly between pixel centers, without smoothing first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Num
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

RULES = ("caffe", "torchvision")


@dataclass(frozen=True)
class ResizeGeometry:
    """Sizes of an image before and after resizing.

    Attributes:
        original_size: Height and width of the original image in pixels.
        resized_size: Height and width of the resized image in pixels.
        scale: Factors from the original to the resized image, for y and x.
    """

    original_size: tuple[int, int]
    resized_size: tuple[int, int]
    scale: tuple[float, float]

    def box_scale(self, like: Tensor) -> Float[Tensor, " 4"]:
        """Return the factors for x1 y1 x2 y2, with the type and device of ``like``."""
        y, x = self.scale
        return like.new_tensor([x, y, x, y])

    def to_original(self, boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
        """Map boxes from the resized to the original image."""
        return boxes / self.box_scale(boxes)

    def to_resized(self, boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
        """Map boxes from the original to the resized image."""
        return boxes * self.box_scale(boxes)


@dataclass(frozen=True)
class PreparedImage:
    """An image decoded and resized for a detector.

    Attributes:
        pixels: Resized image, shape (3, H, W), RGB from 0 to 255.
        geometry: Sizes before and after resizing.
        boxes: Given boxes to use instead of proposals, shape (K, 4), in pixels of the original image.
    """

    pixels: Float[Tensor, "3 H W"]
    geometry: ResizeGeometry
    boxes: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Rule by which images are resized.

    Attributes:
        side: Length in pixels that the shorter side is resized to, or None to keep the size.
        longest: Maximum length of the longer side in pixels; takes precedence over ``side``.
        rule: ``caffe`` or ``torchvision``.

    Raises:
        ValueError: If the rule is unknown or ``1 <= side <= longest`` does not hold.
    """

    side: int | None
    longest: int
    rule: str

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule of resizing must be one of {', '.join(RULES)}, got {self.rule}")
        if self.longest < 1 or (self.side is not None and not 1 <= self.side <= self.longest):
            raise ValueError(
                f"resizing needs 1 <= side <= longest, got side={self.side} and longest={self.longest}"
            )

    def configuration(self) -> dict[str, Any]:
        """Return the class name and the arguments, from which this rule can be built again."""
        return {"class": "Resize", **vars(self)}

    def geometry(self, height: int, width: int) -> ResizeGeometry:
        """Return the sizes and scales for an image of this height and width."""
        small, large = min(height, width), max(height, width)
        if self.rule == "caffe":
            scale = self.side / small if self.side is not None else 1.0
            if round(scale * large) > self.longest:
                scale = self.longest / large
            resized = (max(1, round(height * scale)), max(1, round(width * scale)))
            return ResizeGeometry((height, width), resized, (scale, scale))
        side_scale = self.side / small if self.side is not None else 1.0
        scale = min(side_scale, self.longest / large)
        resized = (max(1, int(height * scale)), max(1, int(width * scale)))
        return ResizeGeometry((height, width), resized, (resized[0] / height, resized[1] / width))

    def __call__(self, image: Float[Tensor, "3 H W"]) -> tuple[Float[Tensor, "3 h w"], ResizeGeometry]:
        """Return the resized image in single precision, and its geometry."""
        geometry = self.geometry(image.shape[1], image.shape[2])
        return resize_bilinear(image, geometry), geometry

    def prepare(self, photo: NDArray[np.uint8], boxes: NDArray[np.float32] | None = None) -> PreparedImage:
        """Resize a decoded image, shape (H, W, 3), and keep its given boxes if there are any."""
        pixels, geometry = self(torch.from_numpy(np.require(photo, requirements="W")).permute(2, 0, 1))
        return PreparedImage(pixels.contiguous(), geometry, boxes)


def resize_bilinear(image: Num[Tensor, "3 H W"], geometry: ResizeGeometry) -> Float[Tensor, "3 h w"]:
    """Sample an image bilinearly at the pixel centers of the resized image.

    Only the pixels that are sampled are converted to single precision, so that a large image takes no
    more memory than its own bytes.
    """
    if geometry.resized_size == geometry.original_size:
        return image.float()
    (height, width), (resized_height, resized_width) = geometry.original_size, geometry.resized_size
    top, bottom, y_weight = _neighbors(height, resized_height, geometry.scale[0], image.device)
    left, right, x_weight = _neighbors(width, resized_width, geometry.scale[1], image.device)
    upper, lower = image[:, top], image[:, bottom]
    first = upper[:, :, left].float().lerp_(upper[:, :, right].float(), x_weight)
    second = lower[:, :, left].float().lerp_(lower[:, :, right].float(), x_weight)
    return first.lerp_(second, y_weight[:, None])


def _neighbors(
    size: int, resized_size: int, scale: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each resized pixel, the two source pixels beside it and the weight of the second."""
    positions = (torch.arange(resized_size, dtype=torch.float64) + 0.5) / scale - 0.5
    positions = positions.clamp(0, size - 1)
    first = positions.long()
    second, weight = (first + 1).clamp(max=size - 1), (positions - first).float()
    return first.to(device), second.to(device), weight.to(device)


def stack_images(images: Sequence[PreparedImage], divisor: int = 1) -> Float[Tensor, "B 3 H W"]:
    """Stack images of one resized size, zero-padded below and on the right to a multiple of ``divisor``.

    Raises:
        ValueError: If the images differ in size; padding one to the size of another changes its features.
    """
    sizes = {image.geometry.resized_size for image in images}
    if len(sizes) > 1:
        raise ValueError(
            "images of a batch must have the same resized size, because padding changes features; "
            f"got {', '.join(f'{height} x {width}' for height, width in sorted(sizes))}"
        )
    return pad(torch.stack([image.pixels for image in images]), divisor)


def pad(pixels: Float[Tensor, "B 3 H W"], divisor: int) -> Float[Tensor, "B 3 h w"]:
    """Zero-pad images below and on the right to a multiple of ``divisor``."""
    height, width = pixels.shape[2:]
    padding = (0, -width % divisor, 0, -height % divisor)
    return F.pad(pixels, padding) if any(padding) else pixels
