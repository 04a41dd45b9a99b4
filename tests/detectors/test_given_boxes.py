"""Given boxes: read from three kinds of file, and described by every kind of detector."""

import json

import numpy as np
import pytest
from PIL import Image

from bua.detectors.detector import detect_regions
from bua.detectors.extract import extract
from bua.detectors.given_boxes import GivenBoxes, read_boxes
from bua.detectors.photos import find_photos
from bua.detectors.pyramid import PyramidDetector
from bua.detectors.random_detector import RandomDetector
from bua.detectors.selection import Selection
from bua.errors import InputError
from bua.store import FeatureStore
from tests.conftest import regions, write_store

BOXES = [[1.0, 2.0, 30.0, 40.0], [5.5, 0.0, 20.0, 10.0]]


def write(path, content) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_three_kinds_of_files_give_boxes_in_their_order(tmp_path) -> None:
    annotations = [{"image_id": 7, "bbox": [x1, y1, x2 - x1, y2 - y1]} for x1, y1, x2, y2 in BOXES]
    assert read_boxes(write(tmp_path / "coco.json", {"annotations": annotations}))[7].boxes.tolist() == BOXES
    listed = [{"image_id": "a.jpg", "boxes": BOXES}]
    assert read_boxes(write(tmp_path / "list.json", listed))["a.jpg"].boxes.tolist() == BOXES
    store = write_store(tmp_path / "s.h5", {3: regions(4)})
    np.testing.assert_array_equal(read_boxes(store)[3].boxes, FeatureStore(store)[3].boxes)
    assert read_boxes(store)[3].size == (50, 50)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": 1, "boxes": [[1, 2, 3]]}], r"\[0\]: a box is \[1, 2, 3\]; four numbers"),
        ([{"image_id": 1, "boxes": []}], "image 1: at least one box, each with an area"),
        ([{"image_id": 1, "boxes": [[5, 5, 5, 9]]}], "image 1: at least one box, each with an area"),
        ([{"image_id": 1, "boxes": BOXES}, {"image_id": 1, "boxes": BOXES}], "image 1 comes twice"),
        ([{"image_id": 1}], r"\[0\] needs image_id and boxes"),
        ({"annotations": [{"image_id": 1, "bbox": "x"}]}, "bbox"),
        ({}, "annotations"),
        (3, "neither COCO instances nor a list"),
    ],
)
def test_what_is_no_box_is_named(content, message, tmp_path) -> None:
    with pytest.raises(InputError, match=rf"b\.json.*{message}"):
        read_boxes(write(tmp_path / "b.json", content))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for n in range(3):
        photo = Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8))
        photo.save(tmp_path / "photos" / f"{n:012d}.png")
    return tmp_path / "photos"


def test_the_store_holds_the_given_boxes_and_says_so(folder, tmp_path) -> None:
    boxes = {
        0: GivenBoxes(np.array(BOXES, np.float32)),
        1: GivenBoxes(np.array(BOXES[:1], np.float32), (60, 80)),
    }
    done = extract(
        find_photos(folder),
        RandomDetector(feature_size=5, min_regions=3, max_regions=4, seed=0),
        tmp_path / "f.h5",
        batch_size=2,
        shard_size=9,
        workers=0,
        dtype="float32",
        max_errors=None,
        boxes=boxes,
        boxes_sha256="abc",
    )
    store = FeatureStore(tmp_path / "f.h5")
    assert {image_id: store[image_id].boxes.tolist() for image_id in store} == {0: BOXES, 1: BOXES[:1]}
    assert store.about.configuration["given_boxes"] == "abc"
    assert list(done.errors) == [2]
    assert "there are no given boxes of image 2" in done.errors[2]


def test_the_detectors_own_boxes_given_back_have_the_same_features(folder) -> None:
    rule = Selection(min_regions=5, max_regions=5, threshold=0.2, nms_iou=0.3, pixel=1)
    detector = PyramidDetector(name="scenes_fpn", weights=None, selection=rule)
    photo = np.asarray(Image.open(folder / f"{0:012d}.png"))
    own = detect_regions(detector, photo)
    again = detect_regions(detector, photo, own.boxes)
    np.testing.assert_allclose(again.features, own.features, atol=1e-4)
    np.testing.assert_array_equal(again.class_id, own.class_id)
    np.testing.assert_array_equal(again.boxes, own.boxes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (GivenBoxes(np.array([[0.1, 0.1, 0.5, 0.5]], np.float32)), "parts of the image, from 0 to 1"),
        (GivenBoxes(np.array([[10, 10, 500, 50]], np.float32)), "leave the image of 80 x 60"),
        (GivenBoxes(np.array([[-30, 10, 50, 50]], np.float32)), "leave the image of 80 x 60"),
        (GivenBoxes(np.array([[1, 1, 30, 30]], np.float32), (30, 40)), "of an image of 40 x 30, not 80 x 60"),
    ],
)
def test_boxes_in_the_wrong_frame_are_told_and_not_used(given, message, folder, tmp_path) -> None:
    detector = RandomDetector(feature_size=5, min_regions=3, max_regions=4, seed=0)
    good = GivenBoxes(np.array([[0, 0, 80, 60]], np.float32))
    done = extract(
        find_photos(folder),
        detector,
        tmp_path / "f.h5",
        batch_size=2,
        shard_size=9,
        workers=0,
        dtype="float32",
        max_errors=None,
        boxes={0: good, 1: given, 2: good},
        boxes_sha256="abc",
    )
    assert list(done.errors) == [1]
    assert message in done.errors[1]
