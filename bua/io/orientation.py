"""EXIF orientation: images are turned when they are decoded, and boxes of the unturned image with them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image

from bua.errors import InputError
from bua.io.decoder_messages import collected_warnings

_ORIENTATION = 0x0112  # EXIF tag
#: Orientations that swap height and width.
_TRANSPOSED = (5, 6, 7, 8)

Boxes = Float[NDArray[np.floating], "N 4"]


class ImageHeader(NamedTuple):
    """What the header of an image file says.

    Attributes:
        width: Width in pixels of the image as it is stored.
        height: Height in pixels of the image as it is stored.
        orientation: EXIF orientation, 1 to 8; 1 if there is none.
    """

    width: int
    height: int
    orientation: int

    @property
    def turned_size(self) -> tuple[int, int]:
        """Width and height in pixels after EXIF rotation."""
        is_transposed = self.orientation in _TRANSPOSED
        return (self.height, self.width) if is_transposed else (self.width, self.height)

    def has_unturned_size(self, width: int, height: int) -> bool:
        """Return whether a size is that of the stored image, and not of the turned one."""
        return (width, height) == (self.width, self.height) != self.turned_size


def read_header(path: Path, formats: tuple[str, ...] | None = None) -> ImageHeader:
    """Read size and orientation of an image, without decoding its pixels.

    Pillow's warnings are not shown, because the decoding of the image reports them.

    Args:
        path: Image file.
        formats: Pillow's names of the formats to read. Default: all.

    Raises:
        InputError: If the file does not exist or is not a readable image.
    """
    try:
        with collected_warnings([]), Image.open(path, formats=formats) as image:
            orientation: Any = image.getexif().get(_ORIENTATION)
            is_known = orientation in range(1, 9)
            return ImageHeader(*image.size, int(orientation) if is_known else 1)
    except FileNotFoundError:
        raise InputError(f"{path}: file does not exist") from None
    except Exception as error:  # damaged files make Pillow raise errors of many types
        raise InputError(f"{path}: not a readable image ({error or type(error).__name__})") from None


def turn_boxes(boxes: Boxes, header: ImageHeader) -> Boxes:
    """Return the boxes of the stored image in the image after EXIF rotation.

    Args:
        boxes: Boxes x1 y1 x2 y2 in pixels.
        header: Header of the image file.
    """
    x1, y1, x2, y2 = np.asarray(boxes).T
    width, height = header.width, header.height
    left, top = (x1, x2), (y1, y2)
    right, bottom = (width - x2, width - x1), (height - y2, height - y1)
    horizontal, vertical = {
        1: (left, top),
        2: (right, top),
        3: (right, bottom),
        4: (left, bottom),
        5: (top, left),
        6: (bottom, left),
        7: (bottom, right),
        8: (top, right),
    }[header.orientation]
    return np.stack([horizontal[0], vertical[0], horizontal[1], vertical[1]], 1)
