"""Attention as one picture: bright where a word attended."""

import numpy as np
import pytest

from bua.visualize.attention_grid import COLUMNS, LINE, TILE, draw_attention, empty_canvas

BOXES = np.array([[0, 0, 50, 50], [50, 0, 100, 50]], np.float32)


def test_a_region_is_the_brighter_the_larger_its_weight() -> None:
    photo = np.full((50, 100, 3), 200, np.uint8)
    weights = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    pixels = np.asarray(draw_attention(photo, BOXES, ["a", "dog"], weights, ["caption: a dog"]), int)
    top = 2 * LINE + TILE // 4  # the middle of the tiles
    left, right = TILE // 4, 3 * TILE // 4
    assert pixels[top, left].max() > 190 > 80 > pixels[top, right].max()
    assert pixels[top, TILE + right].max() > 190 > 80 > pixels[top, TILE + left].max()


@pytest.mark.parametrize("count", [0, 1, COLUMNS, COLUMNS + 1, 17])
def test_a_picture_has_a_tile_for_every_word(count) -> None:
    weights = np.full((count, 2), 0.5, np.float32)
    picture = draw_attention(empty_canvas((100, 100)), BOXES, ["w"] * count, weights, ["x"])
    rows = -(-count // COLUMNS)
    assert picture.height == LINE + rows * (TILE + LINE) + 4
    assert picture.width == TILE * max(3, min(count, COLUMNS))


def test_long_lines_are_broken_between_words() -> None:
    weights = np.zeros((1, 2), np.float32)
    short, long = (
        draw_attention(empty_canvas((100, 100)), BOXES, ["w"], weights, [" ".join(["word"] * n)]).height
        for n in (3, 60)
    )
    assert long >= short + 3 * LINE


def test_boxes_beyond_the_image_are_drawn_as_far_as_they_are_within() -> None:
    boxes = np.array([[-20, -20, 500, 500], [90, 90, 80, 80]], np.float32)
    picture = draw_attention(empty_canvas((100, 100)), boxes, ["w"], np.array([[0.2, 0.8]]), [])
    assert picture.size[1] == TILE + LINE + 4
