"""Given boxes: read from three kinds of files, and used by detectors instead of proposals."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from bua.detectors.detector import detect_regions
from bua.detectors.extract import ExtractionOptions, ExtractionResult, extract
from bua.detectors.given_boxes import GivenBoxes, ImageBoxes, read_given_boxes
from bua.detectors.photo_files import find_photos
from bua.detectors.pyramid import PyramidDetector
from bua.detectors.random_detector import RandomDetector
from bua.detectors.selection import Selection
from bua.errors import InputError
from bua.store import FeatureStore
from tests.helpers.stores import regions, write_store

BOXES = [[1.0, 2.0, 30.0, 40.0], [5.5, 0.0, 20.0, 10.0]]


def write(path, content) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_boxes_are_read_from_three_kinds_of_files(tmp_path) -> None:
    annotations = [{"image_id": 7, "bbox": [x1, y1, x2 - x1, y2 - y1]} for x1, y1, x2, y2 in BOXES]
    coco = read_given_boxes(write(tmp_path / "coco.json", {"annotations": annotations}))
    assert coco.images[7].boxes.tolist() == BOXES
    listed = [{"image_id": "a.jpg", "boxes": BOXES}]
    given = read_given_boxes(write(tmp_path / "list.json", listed))
    assert given.images["a.jpg"].boxes.tolist() == BOXES
    assert given.sha256 == hashlib.sha256((tmp_path / "list.json").read_bytes()).hexdigest()
    store = write_store(tmp_path / "s.h5", {3: regions(4)})
    given = read_given_boxes(store)
    np.testing.assert_array_equal(given.images[3].boxes, FeatureStore(store)[3].boxes)
    assert given.images[3].size == (50, 50)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [{"image_id": 1, "boxes": [[1, 2, 3]]}],
            r"boxes\[0\] is \[1, 2, 3\], expected a list of length 4",
        ),
        ([{"image_id": 1, "boxes": []}], "has no box with an area"),
        ([{"image_id": 1, "boxes": [[5, 5, 5, 9]]}], "has no box with an area"),
        ([{"image_id": None, "boxes": BOXES}], r"\[0\] must have image_id and boxes"),
        ([{"image_id": [1], "boxes": BOXES}], r"\[0\] must have image_id and boxes"),
        ({"images": None, "annotations": []}, 'must be a JSON object with a list "images"'),
        ({"images": [], "annotations": []}, "has no boxes"),
        ([{"image_id": 1, "boxes": [[0, 0, 1e400, 2]]}], "expected (a number|a list of length 4)"),
        ([{"image_id": 1, "boxes": BOXES}, {"image_id": 1, "boxes": BOXES}], "image 1 is duplicated"),
        ([{"image_id": 1}], r"\[0\] must have image_id and boxes"),
        ([{"boxes": BOXES}], r"\[0\] must have image_id and boxes"),
        ([], "has no boxes"),
        ({"annotations": [{"image_id": 1, "bbox": "x"}]}, "bbox"),
        ({}, "annotations"),
        (3, "must be COCO instances or a list"),
    ],
)
def test_invalid_boxes_are_reported(content, message, tmp_path) -> None:
    with pytest.raises(InputError, match=rf"b\.json.*{message}"):
        read_given_boxes(write(tmp_path / "b.json", content))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for n in range(3):
        photo = Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8))
        photo.save(tmp_path / "photos" / f"{n:012d}.png")
    return tmp_path / "photos"


def run(folder, out, boxes) -> ExtractionResult:
    detector = RandomDetector(feature_size=5, min_regions=3, max_regions=4, seed=0)
    options = ExtractionOptions(batch_size=2, shard_size=9, num_workers=0, dtype="float32", max_errors=None)
    return extract(find_photos(folder), detector, out, options, boxes=GivenBoxes(boxes, "abc"))


def test_the_store_holds_the_given_boxes_and_their_hash(folder, tmp_path) -> None:
    boxes = {
        0: ImageBoxes(np.array(BOXES, np.float32)),
        1: ImageBoxes(np.array(BOXES[:1], np.float32), (60, 80)),
    }
    result = run(folder, tmp_path / "f.h5", boxes)
    store = FeatureStore(tmp_path / "f.h5")
    assert {image_id: store[image_id].boxes.tolist() for image_id in store} == {0: BOXES, 1: BOXES[:1]}
    assert store.metadata.configuration["given_boxes"] == "abc"
    assert list(result.errors) == [2]
    assert "image 2 has no given boxes" in result.errors[2]


def test_the_boxes_of_a_detector_as_given_boxes_have_the_same_features(folder) -> None:
    rule = Selection(min_regions=5, max_regions=5, threshold=0.2, nms_iou=0.3, pixel=1)
    detector = PyramidDetector(name="scenes_fpn", weights=None, selection=rule)
    photo = np.asarray(Image.open(folder / f"{0:012d}.png"))
    own = detect_regions(detector, photo)
    given = detect_regions(detector, photo, own.boxes)
    np.testing.assert_allclose(given.features, own.features, atol=1e-4)
    np.testing.assert_array_equal(given.class_id, own.class_id)
    np.testing.assert_array_equal(given.boxes, own.boxes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ImageBoxes(np.array([[0.1, 0.1, 0.5, 0.5]], np.float32)),
            "look like fractions from 0 to 1",
        ),
        (ImageBoxes(np.array([[10, 10, 500, 50]], np.float32)), "exceed the image of 80 x 60"),
        (ImageBoxes(np.array([[-30, 10, 50, 50]], np.float32)), "exceed the image of 80 x 60"),
        (
            ImageBoxes(np.array([[1, 1, 30, 30]], np.float32), (30, 40)),
            "image of 40 x 30, but this one is 80 x 60",
        ),
    ],
)
def test_boxes_that_do_not_fit_the_image_are_reported_and_not_used(given, message, folder, tmp_path) -> None:
    valid = ImageBoxes(np.array([[0, 0, 80, 60]], np.float32))
    result = run(folder, tmp_path / "f.h5", {0: valid, 1: given, 2: valid})
    assert list(result.errors) == [1]
    assert message in result.errors[1]


def test_boxes_without_an_area_are_left_out_and_their_image_is_listed(folder, tmp_path, capfd) -> None:
    boxes = [{"image_id": 0, "boxes": [*BOXES, [5, 5, 5, 9]]}, {"image_id": 1, "boxes": [[0, 0, 0, 0]]}]
    given_boxes = read_given_boxes(write(tmp_path / "b.json", boxes)).images
    assert "b.json: 2 boxes without an area are left out" in capfd.readouterr().err
    result = run(folder, tmp_path / "f.h5", given_boxes)
    assert FeatureStore(tmp_path / "f.h5").image_ids == [0]
    assert "none of its given boxes has an area" in result.errors[1]


def test_ids_of_annotations_may_be_texts_where_those_of_images_are_numbers(tmp_path) -> None:
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": None, "height": 9}],
        "annotations": [{"image_id": "7", "bbox": [1, 2, 3, 4]}],
    }
    found = read_given_boxes(write(tmp_path / "b.json", content)).images
    assert (list(found), found[7].size) == ([7], None)
