"""From decoded images of any kind to RGB pixels, strip by strip, so that a large image takes little memory.

An opaque image keeps its colors. A transparent one is laid over white, unless it is transparent everywhere:
programs that do not use transparency write 0. Grays of more than 8 bits are scaled instead of clipped.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from bua.detectors.photo_remarks import Remark

Pixels = NDArray[np.uint8]

#: Number of pixels of a strip.
STRIP_PIXELS = 2**19
#: Range of values, of 255, up to which an image has nearly one color.
NEARLY_ONE = 8
#: Share of the pixels that has nearly one gray in an image of nearly one gray.
NEARLY_ALL = 0.999
#: Number of grays of an image that are compared before and after scaling.
MAX_SAMPLE = 2**20
#: Highest value of 16 bits.
MAX_16_BITS = 65535
#: Modes with transparency, by Pillow's names; other modes may have a transparent color.
_TRANSPARENT_MODES = ("LA", "RGBA", "PA", "La", "RGBa")
#: What each EXIF orientation does to an array of rows and columns.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}


def to_pixels(image: Image.Image, *, stretch_gray: bool = False) -> tuple[Pixels, list[Remark]]:
    """Return the pixels of an image, turned as its EXIF orientation says, and remarks about them.

    Args:
        image: Opened image.
        stretch_gray: Whether grays of more than 8 bits are scaled from the range of values in the image
            instead of from the range of their type. Default: no.

    Returns:
        Pixels, shape (H, W, 3), RGB; and remarks if colors were lost.
    """
    image.load()  # some formats have their EXIF data after the pixels
    if image.mode.startswith("I") or image.mode == "F":
        pixels, remarks = _gray_pixels(image, stretch_gray)
    elif image.mode in _TRANSPARENT_MODES or "transparency" in image.info:
        pixels, remarks = _transparent_pixels(image)
    else:
        pixels, remarks = _convert(image, lambda strip: np.asarray(strip.convert("RGB"))), []
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return pixels if turn is None else np.ascontiguousarray(turn(pixels)), remarks


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield the rows and the part of each strip of an image."""
    width, height = image.size
    num_rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, num_rows):
        bottom = min(height, top + num_rows)
        yield slice(top, bottom), image.crop((0, top, width, bottom))


def _convert(image: Image.Image, convert: Callable[[Image.Image], NDArray[np.uint8]]) -> Pixels:
    """Return the pixels that a function converts strip by strip; single values become three equal ones."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows, strip in _strips(image):
        converted = convert(strip)
        pixels[rows] = converted if converted.ndim == 3 else converted[..., None]
    return pixels


def _transparent_pixels(image: Image.Image) -> tuple[Pixels, list[Remark]]:
    """Return the pixels of an image over white, or without transparency if all of it is transparent."""
    lowest, highest = np.full(4, 255), np.zeros(4, int)
    for _, strip in _strips(image):
        extrema = np.array(strip.convert("RGBA").getextrema())
        lowest, highest = np.minimum(lowest, extrema[:, 0]), np.maximum(highest, extrema[:, 1])
    if not highest[3]:
        return _convert(image, lambda strip: np.asarray(strip.convert("RGBA"))[..., :3]), []
    pixels = _convert(image, _over_white)
    if (highest - lowest).max() <= NEARLY_ONE or not _is_nearly_one_color(pixels):
        return pixels, []
    return pixels, [Remark("transparent", "for example white on a transparent ground")]


def _over_white(strip: Image.Image) -> NDArray[np.uint8]:
    overlay = strip.convert("RGBA")
    white = Image.new("RGBA", overlay.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, overlay).convert("RGB"))


def _is_nearly_one_color(pixels: Pixels) -> bool:
    return all(int(np.ptp(pixels[..., channel])) <= NEARLY_ONE for channel in range(3))


def _gray_pixels(image: Image.Image, stretch: bool) -> tuple[Pixels, list[Remark]]:
    """Return the pixels of an image of grays of more than 8 bits, scaled to 8."""
    low, high, sample = _gray_values(image)
    scaling = _Scaling.of_range(low, high) if stretch else _Scaling.of_type(image.mode, high)
    pixels = _convert(image, lambda strip: scaling(np.asarray(strip, np.float64)))
    if stretch:
        return pixels, []
    if low * scaling.factor < -1 or high * scaling.factor > 256:
        return pixels, [Remark("clipped", f"grays {low:,.6g} to {high:,.6g}")]
    decoded = scaling(sample)
    if np.unique(decoded).size < np.unique(sample).size and _is_nearly_one_gray(decoded):
        became = f"{decoded.min()} to {decoded.max()} of 255"
        return pixels, [Remark("gray", f"grays {low:,.6g} to {high:,.6g} became {became}")]
    return pixels, []


def _gray_values(image: Image.Image) -> tuple[float, float, NDArray[np.float64]]:
    """Return the lowest and highest finite gray of an image, 0 without any, and a sample of its grays."""
    low, high = math.inf, -math.inf
    step = -(-image.width * image.height // MAX_SAMPLE)
    samples = []
    for _, strip in _strips(image):
        gray = np.asarray(strip)
        finite = gray if gray.dtype.kind != "f" or np.isfinite(gray).all() else gray[np.isfinite(gray)]
        samples.append(finite.ravel()[::step].astype(np.float64))
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high, np.concatenate(samples)) if low <= high else (0.0, 0.0, np.zeros(1))


def _is_nearly_one_gray(gray: NDArray[np.uint8]) -> bool:
    """Return whether nearly all values are within a range of ``NEARLY_ONE``."""
    counts = np.bincount(gray, minlength=256).cumsum()
    within = counts[NEARLY_ONE:] - np.concatenate([[0], counts[: -NEARLY_ONE - 1]])
    return bool(within.max() >= NEARLY_ALL * gray.size)


class _Scaling(NamedTuple):
    """Scaling of grays to 8 bits: those at ``offset`` become 0."""

    offset: float
    factor: float

    @classmethod
    def of_type(cls, mode: str, highest: float) -> "_Scaling":
        """Scale 16-bit grays from 65,535 to 255, and others from the range that their highest suggests."""
        if not mode.startswith("I;16") and highest <= 255:
            return cls(0.0, 255.0 if highest <= 1 else 1.0)
        return cls(0.0, 255.0 / MAX_16_BITS)

    @classmethod
    def of_range(cls, lowest: float, highest: float) -> "_Scaling":
        """Scale from the lowest and highest gray to 0 and 255."""
        return cls(lowest, 255.0 / (highest - lowest) if highest > lowest else 1.0)

    def __call__(self, gray: NDArray[np.float64]) -> NDArray[np.uint8]:
        scaled = (gray - self.offset) * self.factor
        return np.nan_to_num(scaled).clip(0, 255).astype(np.uint8)
