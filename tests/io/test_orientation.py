"""Boxes are turned with their image, for every EXIF orientation."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bua.data.detection.dataset import DetectionDataset
from bua.detectors.given_boxes import read_given_boxes
from bua.detectors.photo import read_photo
from bua.errors import InputError
from bua.io.orientation import ImageHeader, read_header, turn_boxes

BOX = (3, 5, 9, 21)  # x1 y1 x2 y2
WIDTH, HEIGHT = 16, 30


def photo_with_box(path: Path, orientation: int) -> Path:
    """Write a black image with a white box, which EXIF turns."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def white_box(pixels: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(pixels[..., 0] > 128)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_box_holds_the_turned_pixels(orientation: int, tmp_path) -> None:
    path = photo_with_box(tmp_path / "a.png", orientation)
    header = read_header(path)
    assert header == (WIDTH, HEIGHT, orientation)
    pixels = read_photo(path)
    assert header.turned_size == (pixels.shape[1], pixels.shape[0])
    assert turn_boxes(np.array([BOX]), header).tolist() == [white_box(pixels)]


@given(st.integers(1, 8), st.lists(st.tuples(*[st.floats(0, 100)] * 4), max_size=5))
def test_turning_keeps_areas_and_stays_in_the_image(orientation: int, corners) -> None:
    boxes = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]).reshape(-1, 4)
    header = ImageHeader(100, 100, orientation)
    turned = turn_boxes(boxes, header)
    sides, turned_sides = boxes[:, 2:] - boxes[:, :2], turned[:, 2:] - turned[:, :2]
    np.testing.assert_allclose(turned_sides.prod(1), sides.prod(1), atol=1e-6)
    assert ((turned >= 0) & (turned <= 100)).all()


def instances(tmp_path: Path, photo: Path, width: int, height: int) -> Path:
    x1, y1, x2, y2 = BOX
    content = {
        "images": [{"id": 1, "file_name": photo.name, "width": width, "height": height}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("keep_all", [False, True])
def test_boxes_of_the_unturned_image_are_turned_in_training_and_evaluation(
    orientation: int, keep_all: bool, tmp_path
) -> None:
    photo = photo_with_box(tmp_path / "a.png", orientation)
    dataset = DetectionDataset(
        instances(tmp_path, photo, WIDTH, HEIGHT), tmp_path, flip=False, keep_all=keep_all
    )
    dataset.check_photos()
    pixels, target, _ = dataset[0]
    assert target["boxes"].tolist() == [white_box(pixels.permute(1, 2, 0).numpy())]
    assert dataset.changes["images turned by EXIF, with their boxes"] == 1


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_given_boxes_of_the_unturned_image_are_turned(orientation: int, tmp_path) -> None:
    photo = photo_with_box(tmp_path / "a.png", orientation)
    pixels = read_photo(photo)
    given_boxes = read_given_boxes(instances(tmp_path, photo, WIDTH, HEIGHT)).for_image(1, photo)
    assert given_boxes.for_photo(pixels.shape[:2], photo).tolist() == [white_box(pixels)]
    turned = read_given_boxes(instances(tmp_path, photo, HEIGHT, WIDTH)).for_image(1, photo)
    with pytest.raises(InputError, match="given boxes exceed the image"):
        turned.for_photo(pixels.shape[:2], photo)  # BOX is not in the turned image


def test_a_turned_image_looks_like_that_of_pillow(tmp_path) -> None:
    path = photo_with_box(tmp_path / "a.png", 6)
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image))
    assert (read_photo(path)[..., 0] == expected).all()
