"""Boxes with labels on a photograph: legible, inside the picture, never on top of each other."""

import colorsys
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Rectangle = tuple[int, int, int, int]

#: Smaller photographs are enlarged until their shorter side has so many pixels.
LEAST_SIDE = 480
#: Height of the letters as a part of the shorter side, and at least, in pixels.
LETTERS, LEAST_LETTERS = 0.028, 15
_PADDING = 3


@dataclass(frozen=True)
class LabelledBox:
    """A box with what is to be written beside it.

    Attributes:
        box: x1 y1 x2 y2 in pixels of the photograph.
        text: one line.
        key: boxes of the same key have the same colour.
    """

    box: tuple[float, float, float, float]
    text: str
    key: str


def draw_boxes(photo: NDArray[np.uint8], things: Sequence[LabelledBox]) -> Image.Image:
    """Return the photograph (H, W, 3) with boxes and labels, the first ones on top."""
    factor = max(1.0, LEAST_SIDE / min(photo.shape[:2]))
    factor = min(factor, 4000 / max(photo.shape[:2])) if factor > 1 else 1.0
    height, width = (max(1, round(side * factor)) for side in photo.shape[:2])
    image = Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(LEAST_LETTERS, round(LETTERS * min(width, height))))
    line = max(2, round(min(width, height) / 250))
    boxes = [_inside(thing.box, factor, width, height) for thing in things]
    for thing, box in reversed(list(zip(things, boxes, strict=True))):
        pen.rectangle(box, outline=colour(thing.key), width=line)
    sizes = [_size(pen, font, thing.text) for thing in things]
    places = place_labels(boxes, sizes, (width, height))
    for thing, box, place in zip(things, boxes, places, strict=True):
        if place is not None and not _touches(place, _grown(box, 3 * line)):
            pen.line(_shortest(place, box), fill=colour(thing.key), width=line)
    for thing, place in zip(things, places, strict=True):
        if place is not None and thing.text:
            fill = colour(thing.key)
            pen.rectangle(place, fill=fill)
            ink = "black" if np.dot(fill, (0.299, 0.587, 0.114)) > 128 else "white"
            pen.text((place[0] + _PADDING, place[1] + _PADDING), thing.text, fill=ink, font=font, anchor="lt")
    return image


def place_labels(
    boxes: Sequence[Rectangle], sizes: Sequence[tuple[int, int]], picture: tuple[int, int]
) -> list[Rectangle | None]:
    """Find a place for every label, beside its box if there is room, else as near as there is.

    Args:
        boxes: x1 y1 x2 y2.
        sizes: width and height of each label.
        picture: width and height of the picture.

    Returns:
        For each label where it lies, within the picture and apart from all others; none where the
        picture is full.
    """
    taken: list[Rectangle] = []
    places: list[Rectangle | None] = []
    for box, (width, height) in zip(boxes, sizes, strict=True):
        found = None
        for x, y in _positions(box, width, height, picture):
            place = (x, y, x + width, y + height)
            within = x >= 0 and y >= 0 and place[2] <= picture[0] and place[3] <= picture[1]
            if within and not any(_touches(place, other) for other in taken):
                found = place
                taken.append(place)
                break
        places.append(found)
    return places


def _positions(
    box: Rectangle, width: int, height: int, picture: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    x1, y1, x2, y2 = box
    for x in (x1, x2 - width, (x1 + x2 - width) // 2):
        yield from ((x, y1 - height - 1), (x, y1 + 1), (x, y2 + 1), (x, y2 - height - 1))
    for y in range(y1 + height, y2 - height, height + 2):
        yield from ((x1, y), (x2 - width, y))
    grid = [
        (x, y)
        for y in range(0, picture[1] - height + 1, height + 2)
        for x in range(0, picture[0] - width + 1, max(8, width // 4))
    ]
    centre = (x1 + x2 - width) / 2, (y1 + y2 - height) / 2
    yield from sorted(grid, key=lambda at: abs(at[0] - centre[0]) + abs(at[1] - centre[1]))


def _grown(box: Rectangle, by: int) -> Rectangle:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _shortest(place: Rectangle, box: Rectangle) -> list[tuple[int, int]]:
    """Return a line from the middle of a label to the nearest point of its box."""
    x, y = (place[0] + place[2]) // 2, (place[1] + place[3]) // 2
    return [(x, y), (min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3]))]


def _touches(one: Rectangle, other: Rectangle) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _inside(box: tuple[float, ...], factor: float, width: int, height: int) -> Rectangle:
    x1, y1, x2, y2 = (round(v * factor) for v in box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, min(max(x2, x1), width - 1), min(max(y2, y1), height - 1)


def _size(pen: ImageDraw.ImageDraw, font: Any, text: str) -> tuple[int, int]:
    left, top, right, bottom = pen.textbbox((0, 0), text or " ", font=font, anchor="lt")
    _, _, _, tall = pen.textbbox((0, 0), "Ag", font=font, anchor="lt")
    return round(right - left) + 2 * _PADDING, round(max(bottom - top, tall)) + 2 * _PADDING


def colour(key: str) -> tuple[int, int, int]:
    """Return a strong colour, the same for the same key."""
    digest = hashlib.sha256(key.encode()).digest()
    red, green, blue = colorsys.hsv_to_rgb(digest[0] / 256, 0.65 + digest[1] / 1024, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
