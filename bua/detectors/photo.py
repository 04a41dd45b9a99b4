"""Decoding a photograph, whatever it is, to RGB pixels or to one line that says why not.

Pillow decodes; torchvision's decoders crash the process on some damaged files.
"""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bua.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
#: Photographs that are not read; in a folder they are told instead of passed over.
UNREAD = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".dng", ".cr2", ".nef")
MAX_PIXELS = 100_000_000
MAX_ASPECT = 200
MAX_BYTES = 512 * 2**20


def read_photo(source: Path | str | BinaryIO, name: str | None = None) -> NDArray[np.uint8]:
    """Decode a photograph.

    The first frame of an animation is taken, transparency is laid over white, EXIF rotation is
    applied, and 16-bit and floating-point greys are scaled to 8 bits instead of being clipped.

    Args:
        source: a file's path, or an open binary file.
        name: what to call it in errors; the path by default.

    Returns:
        (H, W, 3) RGB.

    Raises:
        InputError: it is missing, empty, damaged, not an image, or too large; the file is named.
    """
    label = name or str(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            _check_bytes(source, label)
            with Image.open(source, formats=FORMATS) as image:
                _check_dimensions(image.size, label)
                return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{label}: there is no such file") from None
    except UnidentifiedImageError:
        raise InputError(f"{label}: not an image in one of the formats {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise InputError(f"{label}: more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow lets many kinds out of damaged metadata
        raise InputError(f"{label}: damaged image ({error or type(error).__name__})") from None


def _check_bytes(source: Path | str | BinaryIO, label: str) -> None:
    if not isinstance(source, (str, Path)):
        return
    if Path(source).is_dir():
        raise InputError(f"{label}: is a folder, a photograph is needed")
    count = Path(source).stat().st_size
    if count == 0:
        raise InputError(f"{label}: the file is empty")
    if count > MAX_BYTES:
        raise InputError(f"{label}: {count:,} bytes, at most {MAX_BYTES:,} are read")


def _check_dimensions(size: tuple[int, int], label: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"{label}: {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise InputError(f"{label}: {width} x {height} is more than {MAX_PIXELS:,} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"{label}: {width} x {height} is narrower than 1 to {MAX_ASPECT}; crop it first")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image, np.float64), image.mode)).convert("RGB")
    if image.mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(grey: NDArray[np.float64], mode: str) -> NDArray[np.uint8]:
    """Scale 16-bit greys by 65535 and others by the range that their values imply."""
    highest = 65535.0 if mode.startswith("I;16") else float(np.nanmax(grey, initial=0.0))
    scale = 255.0 if highest <= 1 else 1.0 if highest <= 255 else 255.0 / 65535
    return np.nan_to_num(grey * scale).clip(0, 255).astype(np.uint8)
