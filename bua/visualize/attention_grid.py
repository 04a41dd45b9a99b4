"""Attention as one picture: the image once for every word, bright where the word attended."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

#: Width of a tile and height of a line of text, in pixels.
TILE, LINE = 144, 19
#: Tiles in a row.
COLUMNS = 5
#: Brightness of what is not attended to, and the gray of an image that is not there.
DARKEST, CANVAS = 0.25, 190
_MARGIN = 4


def draw_attention(
    photo: NDArray[np.uint8],
    boxes: Float[NDArray[np.floating], "K 4"],
    words: Sequence[str],
    weights: Float[NDArray[np.floating], "T K"],
    lines: Sequence[str],
) -> Image.Image:
    """Return an image with a tile for every word, below lines of text.

    In a tile, a region is the brighter the larger its weight is in comparison with the largest one of the
    word, and the region with the largest weight has an outline.

    Args:
        photo: Pixels of the image, (H, W, 3).
        boxes: Corners x1 y1 x2 y2 of the regions, in pixels of the image.
        words: Word above each tile.
        weights: Attention of each word over the regions.
        lines: Lines of text above the tiles, such as the caption and the references.
    """
    height = max(1, round(photo.shape[0] * TILE / photo.shape[1]))
    small = np.asarray(Image.fromarray(photo).resize((TILE, height), Image.Resampling.BILINEAR))
    scaled = np.round(boxes * TILE / photo.shape[1]).astype(int)
    columns = max(1, min(COLUMNS, len(words)))
    rows = -(-len(words) // columns)
    wrapped = [part for line in lines for part in _wrap(line, max(columns, 3) * TILE - 2 * _MARGIN)]
    size = max(columns, 3) * TILE, len(wrapped) * LINE + rows * (height + LINE) + _MARGIN
    picture = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(picture), _font()
    for n, line in enumerate(wrapped):
        draw.text((_MARGIN, n * LINE + _MARGIN), line, fill="black", font=font)
    for n, (word, row) in enumerate(zip(words, weights, strict=True)):
        x, y = n % columns * TILE, len(wrapped) * LINE + n // columns * (height + LINE)
        draw.text((x + _MARGIN, y + _MARGIN), word, fill="black", font=font)
        picture.paste(_tile(small, scaled, row), (x, y + LINE))
    return picture


def empty_canvas(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return gray pixels, (H, W, 3), in place of an image that is not there.

    Args:
        size: Height and width of the image.
    """
    return np.full((*size, 3), CANVAS, np.uint8)


def _tile(photo: NDArray[np.uint8], boxes: NDArray[np.int_], weights: NDArray[np.floating]) -> Image.Image:
    """Return an image, bright where a word attended."""
    light = np.full(photo.shape[:2], DARKEST)
    largest = max(float(weights.max(initial=0)), 1e-9)
    for (x1, y1, x2, y2), weight in zip(boxes.tolist(), weights.tolist(), strict=True):
        inside = light[max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1]
        np.maximum(inside, DARKEST + (1 - DARKEST) * weight / largest, out=inside)
    tile = Image.fromarray((photo * light[:, :, None]).astype(np.uint8))
    if len(weights):
        x1, y1, x2, y2 = boxes[int(weights.argmax())].tolist()
        ImageDraw.Draw(tile).rectangle((min(x1, x2), min(y1, y2), x2, y2), outline=(255, 210, 0), width=2)
    return tile


def _wrap(text: str, width: int) -> list[str]:
    """Return a text as lines that are at most so many pixels wide, broken between words."""
    font, lines = _font(), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13)
