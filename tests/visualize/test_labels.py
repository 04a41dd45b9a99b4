"""Labels lie within the image, never overlap, and stay beside their boxes while there is room."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.visualize.labels import LabeledBox, color, draw_boxes, place_labels


def overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40), st.integers(120, 700), st.integers(120, 700))
def test_labels_lie_within_the_image_and_never_overlap(seed, count, width, height) -> None:
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, [width, height], (count, 2, 2)), axis=1)
    boxes = [(int(x1), int(y1), int(x2), int(y2)) for (x1, y1), (x2, y2) in corners]
    sizes = [(int(w), 18) for w in rng.integers(30, 140, count)]
    places = place_labels(boxes, sizes, (width, height))
    placed = [place for place in places if place is not None]
    for place, (w, h) in zip(places, sizes, strict=True):
        if place is not None:
            assert (place[2] - place[0], place[3] - place[1]) == (w, h)
            assert place[0] >= 0
            assert place[1] >= 0
            assert place[2] <= width
            assert place[3] <= height
    assert not any(overlap(a, b) for n, a in enumerate(placed) for b in placed[:n])


def test_a_single_label_touches_its_box() -> None:
    for box in [(50, 50, 120, 90), (0, 0, 300, 200), (250, 180, 299, 199), (0, 0, 5, 5)]:
        (place,) = place_labels([box], [(60, 18)], (300, 200))
        assert overlap((box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2), place)


def test_forty_labels_of_one_box_find_a_place_while_there_is_room() -> None:
    places = place_labels([(200, 200, 260, 260)] * 40, [(90, 18)] * 40, (640, 480))
    assert None not in places


def test_labels_are_omitted_when_the_image_is_full() -> None:
    places = place_labels([(0, 0, 50, 20)] * 9, [(50, 19)] * 9, (60, 40))
    assert places == [(0, 1, 50, 20), (0, 21, 50, 40), *[None] * 7]


def test_small_images_are_enlarged_with_their_boxes() -> None:
    photo = np.full((60, 80, 3), 255, np.uint8)
    image = draw_boxes(photo, [LabeledBox((10, 10, 70, 50), "red chair", "chair")])
    assert image.size == (640, 480)
    pixels = np.asarray(image)
    on = np.abs(pixels[:, 80:84].astype(int) - color("chair")).sum(-1) < 30
    rows = np.flatnonzero(on.any(1))
    assert rows.min() <= 82
    assert 396 <= rows.max() <= 404


def test_drawing_no_boxes_keeps_the_image() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (500, 600, 3), np.uint8)
    assert np.array_equal(np.asarray(draw_boxes(photo, [])), photo)


def test_colors_are_strong_and_equal_for_equal_keys() -> None:
    assert color("chair") == color("chair")
    assert len({color(str(n)) for n in range(50)}) > 40
    assert all(max(color(str(n))) > 200 for n in range(50))
