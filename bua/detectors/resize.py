"""Resizing a photograph for a detector, by the two rules of the field, and the way back for boxes.

Caffe's rule (Anderson et al. 2018, as released): one scale for both axes, sides rounded, the pixels
read at exactly that scale. torchvision's: sides rounded down, then each axis has its own scale. Both
are bilinear between pixel centres, without smoothing first.
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
class Frame:
    """How an image was resized.

    Attributes:
        size: height and width of the photograph in pixels.
        resized: height and width given to the detector.
        scale: from the photograph to the detector, for y and x.
    """

    size: tuple[int, int]
    resized: tuple[int, int]
    scale: tuple[float, float]

    def factors(self, like: Tensor) -> Float[Tensor, " 4"]:
        """Return the scale of x1 y1 x2 y2."""
        y, x = self.scale
        return like.new_tensor([x, y, x, y])

    def to_photo(self, boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
        """Return boxes in pixels of the photograph."""
        return boxes / self.factors(boxes)

    def to_resized(self, boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
        """Return boxes in pixels of the resized image."""
        return boxes * self.factors(boxes)


@dataclass(frozen=True)
class Prepared:
    """A photograph as a detector wants it.

    Attributes:
        pixels: (3, H, W), RGB from 0 to 255.
        frame: how it was resized.
        boxes: (K, 4), given boxes in pixels of the photograph, if any.
    """

    pixels: Float[Tensor, "3 H W"]
    frame: Frame
    boxes: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Resize:
    """How photographs are resized.

    Attributes:
        side: the shorter side becomes this; none leaves the size as it is.
        longest: unless the longer side would then be more than this.
        rule: ``caffe`` or ``torchvision``.
    """

    side: int | None
    longest: int
    rule: str

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"the rule of resizing is one of {', '.join(RULES)}, not {self.rule}")
        if self.longest < 1 or (self.side is not None and not 1 <= self.side <= self.longest):
            raise ValueError(f"1 <= side <= longest is needed, not {self.side} and {self.longest}")

    def configuration(self) -> dict[str, Any]:
        """Return the arguments, as a configuration has them."""
        return {"type": "Resize", **vars(self)}

    def frame(self, height: int, width: int) -> Frame:
        """Return how a photograph of that size is resized."""
        small, large = min(height, width), max(height, width)
        if self.rule == "caffe":
            scale = self.side / small if self.side is not None else 1.0
            if round(scale * large) > self.longest:
                scale = self.longest / large
            resized = (max(1, round(height * scale)), max(1, round(width * scale)))
            return Frame((height, width), resized, (scale, scale))
        wanted = self.side / small if self.side is not None else 1.0
        factor = min(wanted, self.longest / large)
        resized = (max(1, int(height * factor)), max(1, int(width * factor)))
        return Frame((height, width), resized, (resized[0] / height, resized[1] / width))

    def __call__(self, image: Float[Tensor, "3 H W"]) -> tuple[Float[Tensor, "3 h w"], Frame]:
        """Return the image, resized, in single precision, and how it was resized."""
        frame = self.frame(image.shape[1], image.shape[2])
        return bilinear(image, frame), frame

    def prepare(self, photo: NDArray[np.uint8], boxes: NDArray[np.float32] | None = None) -> Prepared:
        """Return a photograph (H, W, 3) as a detector wants it."""
        pixels, frame = self(torch.from_numpy(np.require(photo, requirements="W")).permute(2, 0, 1))
        return Prepared(pixels.contiguous(), frame, boxes)


def bilinear(image: Num[Tensor, "3 H W"], frame: Frame) -> Float[Tensor, "3 h w"]:
    """Read an image at the centres of the pixels of another size, linearly between its own.

    Only the pixels needed become numbers of single precision, so that a large photograph costs no
    more memory than it has.
    """
    if frame.resized == frame.size:
        return image.float()
    top, bottom, down = _taps(frame.size[0], frame.resized[0], frame.scale[0], image)
    left, right, along = _taps(frame.size[1], frame.resized[1], frame.scale[1], image)
    upper, lower = image[:, top], image[:, bottom]
    first = upper[:, :, left].float().lerp_(upper[:, :, right].float(), along)
    second = lower[:, :, left].float().lerp_(lower[:, :, right].float(), along)
    return first.lerp_(second, down[:, None])


def _taps(size: int, resized: int, scale: float, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two pixels that each new one lies between, and how far along it lies."""
    at = (torch.arange(resized, dtype=torch.float64) + 0.5) / scale - 0.5
    at = at.clamp(0, size - 1)
    first = at.long()
    parts = first, (first + 1).clamp(max=size - 1), (at - first).float()
    before, after, along = (part.to(like.device) for part in parts)
    return before, after, along


def stack(images: Sequence[Prepared], divisor: int = 1) -> Float[Tensor, "B 3 H W"]:
    """Stack images of one size, with zeros below and to the right up to a multiple of ``divisor``.

    Raises:
        ValueError: they are of different sizes; padding one to another's would change its features.
    """
    sizes = {image.frame.resized for image in images}
    if len(sizes) > 1:
        raise ValueError("photographs of one batch must be of one resized size: padding changes features")
    return pad(torch.stack([image.pixels for image in images]), divisor)


def pad(pixels: Float[Tensor, "B 3 H W"], divisor: int) -> Float[Tensor, "B 3 h w"]:
    """Add zeros below and to the right up to a multiple of ``divisor``."""
    height, width = pixels.shape[2:]
    more = (0, -width % divisor, 0, -height % divisor)
    return F.pad(pixels, more) if any(more) else pixels
