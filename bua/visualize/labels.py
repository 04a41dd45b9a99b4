"""Boxes with labels drawn on an image: legible, within the image, and never on top of each other."""

import colorsys
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

#: Corners of a box in pixels: x1 y1 x2 y2.
Rectangle = tuple[int, int, int, int]

#: Shorter side in pixels to which smaller images are enlarged, and the longest side that results.
MIN_SIDE, MAX_SIDE = 480, 4000
#: Font size as a fraction of the shorter side, and at least, in pixels.
FONT_SCALE, MIN_FONT_SIZE = 0.028, 15
_PADDING = 3


@dataclass(frozen=True)
class LabeledBox:
    """A box with a label.

    Attributes:
        box: Corners x1 y1 x2 y2 in pixels of the image.
        text: Label, one line.
        key: Boxes of the same key have the same color.
    """

    box: tuple[float, float, float, float]
    text: str
    key: str


def draw_boxes(photo: NDArray[np.uint8], boxes: Sequence[LabeledBox]) -> Image.Image:
    """Return the image (H, W, 3) with boxes and labels, the first ones on top."""
    factor = max(1.0, MIN_SIDE / min(photo.shape[:2]))
    factor = min(factor, MAX_SIDE / max(photo.shape[:2])) if factor > 1 else 1.0
    height, width = (max(1, round(side * factor)) for side in photo.shape[:2])
    image = Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(MIN_FONT_SIZE, round(FONT_SCALE * min(width, height))))
    line_width = max(2, round(min(width, height) / 250))
    rectangles = [_scale_and_clip(box.box, factor, width, height) for box in boxes]
    for box, rectangle in reversed(list(zip(boxes, rectangles, strict=True))):
        draw.rectangle(rectangle, outline=color(box.key), width=line_width)
    sizes = [_label_size(draw, font, box.text) for box in boxes]
    places = place_labels(rectangles, sizes, (width, height))
    for box, rectangle, place in zip(boxes, rectangles, places, strict=True):
        if place is not None and not _touches(place, _grow(rectangle, 3 * line_width)):
            draw.line(_connector(place, rectangle), fill=color(box.key), width=line_width)
    for box, place in zip(boxes, places, strict=True):
        if place is not None and box.text:
            fill = color(box.key)
            draw.rectangle(place, fill=fill)
            ink = "black" if np.dot(fill, (0.299, 0.587, 0.114)) > 128 else "white"
            draw.text((place[0] + _PADDING, place[1] + _PADDING), box.text, fill=ink, font=font, anchor="lt")
    return image


def place_labels(
    boxes: Sequence[Rectangle], sizes: Sequence[tuple[int, int]], image_size: tuple[int, int]
) -> list[Rectangle | None]:
    """Find a place for every label: beside its box if there is room, and otherwise as near as possible.

    Args:
        boxes: Boxes to label.
        sizes: Width and height of each label.
        image_size: Width and height of the image.

    Returns:
        The place of each label, within the image and without overlap; ``None`` where no room is left.
    """
    taken: list[Rectangle] = []
    places: list[Rectangle | None] = []
    for box, (width, height) in zip(boxes, sizes, strict=True):
        found = None
        for x, y in _positions(box, width, height, image_size):
            place = (x, y, x + width, y + height)
            within = x >= 0 and y >= 0 and place[2] <= image_size[0] and place[3] <= image_size[1]
            if within and not any(_touches(place, other) for other in taken):
                found = place
                taken.append(place)
                break
        places.append(found)
    return places


def _positions(
    box: Rectangle, width: int, height: int, image_size: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Yield positions of a label: at the corners and edges of its box, then on a grid, the nearest first."""
    x1, y1, x2, y2 = box
    for x in (x1, x2 - width, (x1 + x2 - width) // 2):
        yield from ((x, y1 - height - 1), (x, y1 + 1), (x, y2 + 1), (x, y2 - height - 1))
    for y in range(y1 + height, y2 - height, height + 2):
        yield from ((x1, y), (x2 - width, y))
    grid = [
        (x, y)
        for y in range(0, image_size[1] - height + 1, height + 2)
        for x in range(0, image_size[0] - width + 1, max(8, width // 4))
    ]
    center = (x1 + x2 - width) / 2, (y1 + y2 - height) / 2
    yield from sorted(grid, key=lambda at: abs(at[0] - center[0]) + abs(at[1] - center[1]))


def _grow(box: Rectangle, margin: int) -> Rectangle:
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def _connector(place: Rectangle, box: Rectangle) -> list[tuple[int, int]]:
    """Return a line from the center of a label to the nearest point of its box."""
    x, y = (place[0] + place[2]) // 2, (place[1] + place[3]) // 2
    return [(x, y), (min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3]))]


def _touches(one: Rectangle, other: Rectangle) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _scale_and_clip(box: tuple[float, ...], factor: float, width: int, height: int) -> Rectangle:
    x1, y1, x2, y2 = (round(v * factor) for v in box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, min(max(x2, x1), width - 1), min(max(y2, y1), height - 1)


def _label_size(draw: ImageDraw.ImageDraw, font: Any, text: str) -> tuple[int, int]:
    left, top, right, bottom = draw.textbbox((0, 0), text or " ", font=font, anchor="lt")
    _, _, _, line_height = draw.textbbox((0, 0), "Ag", font=font, anchor="lt")
    return round(right - left) + 2 * _PADDING, round(max(bottom - top, line_height)) + 2 * _PADDING


def color(key: str) -> tuple[int, int, int]:
    """Return a strong RGB color, the same for the same key."""
    digest = hashlib.sha256(key.encode()).digest()
    red, green, blue = colorsys.hsv_to_rgb(digest[0] / 256, 0.65 + digest[1] / 1024, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
