"""Images: decoding to RGB pixels, and resizing for a detector.

Pillow decodes; torchvision's decoders crash the process on some damaged files. What cannot be decoded is
reported in one line.

Caffe's rule of resizing (Anderson et al. 2018, as released) uses one scale for both axes, rounds the sides,
and samples at exactly that scale. torchvision's rule rounds the sides down and then uses a separate scale
for each axis. Both sample bilinearly between pixel centers, without smoothing first.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Num
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features
from torch import Tensor
from torch.nn import functional as F

from bua.detectors.photo_files import UNSUPPORTED_SUFFIXES, PhotoFile
from bua.detectors.photo_pixels import to_pixels
from bua.detectors.photo_remarks import Remark, decoder_remark, describe_remarks
from bua.errors import InputError
from bua.io.decoder_messages import collected_lines, collected_warnings
from bua.io.progress import clear_bars, progress

log = logging.getLogger(__name__)

T = TypeVar("T")

#: A decoded image: shape (H, W, 3), RGB from 0 to 255.
Photo = NDArray[np.uint8]

#: Formats that are decoded, by Pillow's names.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", *(("AVIF",) if features.check("avif") else ()))
MAX_PIXELS = 100_000_000
MAX_ASPECT_RATIO = 200
MAX_BYTES = 512 * 2**20


def read_photo(
    source: Path | str | BinaryIO,
    name: str | None = None,
    *,
    stretch_gray: bool = False,
    report: Callable[[Remark], None] | None = None,
) -> Photo:
    """Decode an image.

    Of an animation the first frame is taken, transparent images are laid over white, EXIF rotation is
    applied, and grays of more than 8 bits are scaled to 8 instead of clipped.

    Args:
        source: Path of a file, or an open binary file.
        name: Name of the image in error messages. Default: the path.
        stretch_gray: Whether grays of more than 8 bits are scaled from the range of values in the image
            instead of from the range of their type. Default: no.
        report: Called with remarks about the image. By default they are logged as warnings.

    Returns:
        The pixels, shape (H, W, 3), RGB.

    Raises:
        InputError: If the file is missing, empty, damaged, not an image, or too large; it is named.
    """
    name = name or str(source)
    if not is_encodable(name):
        raise InputError(f"{name}: its name is not UTF-8; rename the file")
    messages: list[str] = []
    try:
        with collected_warnings(messages):
            _check_file(source, name)
            with Image.open(source, formats=FORMATS) as image:
                _check_dimensions(image.size, name)
                if image.format == "TIFF":
                    with collected_lines(messages):
                        image.load()
                pixels, remarks = to_pixels(image, stretch_gray=stretch_gray)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name}: file does not exist") from None
    except UnidentifiedImageError:
        advice = "; convert it" if Path(name).suffix.lower() in UNSUPPORTED_SUFFIXES else ""
        reason = f" ({messages[0]:.100})" if messages else advice
        raise InputError(f"{name}: not an image in one of the formats {', '.join(FORMATS)}{reason}") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # damaged metadata makes Pillow raise errors of many types
        reason = "; ".join(text for text in (str(error) or type(error).__name__, *messages[:1]) if text)
        raise InputError(f"{name}: damaged image ({reason})") from None
    for remark in [*([decoder_remark(messages)] if messages else []), *remarks]:
        if report is not None:
            report(remark)
        else:
            log.warning(next(describe_remarks([(name, remark)])))
    return pixels


def is_encodable(name: str) -> bool:
    """Return whether a file name can be written as UTF-8, as stores, lists and JSON need it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_file(source: Path | str | BinaryIO, name: str) -> None:
    if not isinstance(source, (str, Path)):
        return
    if Path(source).is_dir():
        raise InputError(f"{name}: is a folder, expected an image file")
    size = Path(source).stat().st_size
    if size == 0:
        raise InputError(f"{name}: file is empty")
    if size > MAX_BYTES:
        raise InputError(f"{name}: file has {size:,} bytes, must have at most {MAX_BYTES:,}")


def _check_dimensions(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"{name}: image is {width} x {height}, must have at least one pixel")
    if width * height > MAX_PIXELS:
        raise InputError(f"{name}: image is {width} x {height}, must have at most {MAX_PIXELS:,} pixels")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise InputError(
            f"{name}: image is {width} x {height}, narrower than 1 to {MAX_ASPECT_RATIO}; crop it first"
        )


def map_photos(
    function: Callable[[PhotoFile, Photo], T],
    files: Sequence[PhotoFile],
    command: str,
    *,
    stretch_gray: bool = False,
) -> Iterator[tuple[PhotoFile, Photo, T]]:
    """Decode images one by one and apply a function; skip those that fail, with a line on stderr.

    Remarks about the decoded images follow at the end, one line for each kind.

    Args:
        function: Function from an image file and its pixels.
        files: Image files.
        command: Name of the command, which starts the line on stderr.
        stretch_gray: Whether grays of more than 8 bits are scaled from the range of values of their image.

    Yields:
        Image file, its pixels and the result of the function.

    Raises:
        InputError: If the only image, or every image, fails.
    """
    num_results = 0
    remarks: list[tuple[str, Remark]] = []
    for file in progress(files, is_shown=len(files) > 1):
        found: list[Remark] = []
        try:
            photo = read_photo(file.path, stretch_gray=stretch_gray, report=found.append)
            result = function(file, photo)
        except InputError as error:
            if len(files) == 1:
                raise
            clear_bars()
            print(f"{command}: {error}", file=sys.stderr)
            continue
        num_results += 1
        remarks += [(str(file.path), remark) for remark in found]
        yield file, photo, result
    for line in describe_remarks(remarks):
        print(f"{command}: {line}", file=sys.stderr)
    if not num_results:
        raise InputError(f"{files[0].path}: cannot be read, nor can any other of the {len(files)} images")


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
        remarks: Remarks about the decoding of the image.
    """

    pixels: Float[Tensor, "3 H W"]
    geometry: ResizeGeometry
    boxes: NDArray[np.float32] | None = None
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Rule by which images are resized.

    Attributes:
        min_size: Length in pixels that the shorter side is resized to, or None to keep the size.
        max_size: Maximum length of the longer side in pixels; takes precedence over ``min_size``.
        rule: ``caffe`` or ``torchvision``.

    Raises:
        ValueError: If the rule is unknown or ``1 <= min_size <= max_size`` does not hold.
    """

    min_size: int | None
    max_size: int
    rule: str

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule of resizing must be one of {', '.join(RULES)}, got {self.rule}")
        if self.max_size < 1 or (self.min_size is not None and not 1 <= self.min_size <= self.max_size):
            raise ValueError(
                "resizing needs 1 <= min_size <= max_size, "
                f"got min_size={self.min_size} and max_size={self.max_size}"
            )

    def configuration(self) -> dict[str, Any]:
        """Return the class name and the arguments, from which this rule can be built again."""
        return {"class": "Resize", **vars(self)}

    def geometry(self, height: int, width: int) -> ResizeGeometry:
        """Return the sizes and scales for an image of this height and width."""
        small, large = min(height, width), max(height, width)
        if self.rule == "caffe":
            scale = self.min_size / small if self.min_size is not None else 1.0
            if round(scale * large) > self.max_size:
                scale = self.max_size / large
            resized = (max(1, round(height * scale)), max(1, round(width * scale)))
            return ResizeGeometry((height, width), resized, (scale, scale))
        side_scale = self.min_size / small if self.min_size is not None else 1.0
        scale = min(side_scale, self.max_size / large)
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
