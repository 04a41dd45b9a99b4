"""Images of annotations are matched with those of a feature store."""

import time

import pytest

from bua.data.image_lookup import find_images, match_images
from bua.errors import InputError
from bua.store.reader import FeatureStore
from tests.helpers.stores import regions, write_store


def by_id(image_ids) -> dict:
    """Return ids as the names of their images."""
    return {image_id: image_id for image_id in image_ids}


def test_text_ids_match_any_folder_and_ending(tmp_path) -> None:
    names = ["train/0a.jpg", "VizWiz_0.jpg", "x/1.jpg", "y/1.jpg"]
    store = FeatureStore(write_store(tmp_path / "f.h5", {name: regions(2) for name in names}))
    ids = ["0a", "VizWiz_0.jpg", "0a"]
    assert match_images(by_id(ids), store, "q.json") == {"0a": "train/0a.jpg", "VizWiz_0.jpg": "VizWiz_0.jpg"}
    with pytest.raises(
        InputError, match=r"1 of 2 images of q.json have no regions in this store, the first is '1'"
    ):
        match_images(by_id(["0a", "1"]), store, "q.json")  # two images match
    numbers = FeatureStore(write_store(tmp_path / "n.h5", {2354786: regions(2)}))
    assert match_images(by_id(["2354786"]), numbers, "q.json") == {"2354786": 2354786}
    with pytest.raises(InputError, match="no regions in this store, the first is 3"):
        match_images(by_id([3]), store, "q.json")


@pytest.mark.parametrize(
    ("stored", "image_id", "expected"),
    [
        ("12.jpg", 12, "12.jpg"),
        ("000012.jpg", 12, "000012.jpg"),
        (12, "x/000012.jpg", 12),
        ("val/0001.jpg", "train/0001.jpg", None),
        ("val/0001.jpg", "coco/val/0001.png", "val/0001.jpg"),
        ("coco/val/0001.jpg", "val/0001.png", "coco/val/0001.jpg"),
        ("0001.jpg", "val/0001.png", "0001.jpg"),
        ("al/0001.jpg", "val/0001.png", None),
        ("b/al/0001.jpg", "a/al/0001.png", None),
    ],
)
def test_images_match_by_name_number_and_folder(tmp_path, stored, image_id, expected) -> None:
    store = FeatureStore(write_store(tmp_path / "f.h5", {stored: regions(2), type(stored)(7): regions(2)}))
    if expected is None:
        with pytest.raises(InputError, match="1 of 1 images of q.json have no regions in this store"):
            match_images(by_id([image_id]), store, "q.json")
    else:
        assert match_images(by_id([image_id, image_id]), store, "q.json") == {image_id: expected}


@pytest.mark.parametrize(
    ("stored", "image_id", "expected"),
    [
        (["0012.jpg", "12.jpg"], "0012.png", "0012.jpg"),  # names precede numbers
        (["0012.jpg", "12.jpg"], 12, "12.jpg"),
        (["0012.jpg", "00012.jpg"], 12, None),
        (["val/12.jpg", "12.jpg"], "val/12.png", "val/12.jpg"),  # and equal folders precede others
        (["val/12.jpg", "12.jpg"], "12.png", "12.jpg"),
        (["val/12.jpg", "train/12.jpg"], "12.png", None),
        (["val/12.jpg", "train/12.jpg"], "train/12.png", "train/12.jpg"),
    ],
)
def test_the_closest_of_several_candidates_matches(tmp_path, stored, image_id, expected) -> None:
    store = FeatureStore(write_store(tmp_path / "f.h5", {name: regions(2) for name in stored}))
    matches, missing = find_images(by_id([image_id]), store)
    assert (matches.get(image_id), missing) == (expected, [] if expected else [image_id])


def test_matching_takes_linear_time() -> None:
    """The same file names are in 2,000 folders; comparing all pairs would take a minute."""
    names = dict.fromkeys(f"{n // 15}/{n % 15}.jpg" for n in range(30_000))
    ids = [name.replace("jpg", "png") for name in names]
    started = time.process_time()
    assert list(find_images(by_id(ids), names)[0].values()) == list(names)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("ids", [["a/12.jpg", "b/12.jpg"], ["12.jpg", "b/12.png"], [12, "12.jpg"]])
def test_two_images_cannot_match_the_same_stored_image(tmp_path, ids) -> None:
    store = FeatureStore(write_store(tmp_path / "f.h5", {"12.jpg": regions(2)}))
    with pytest.raises(InputError, match="image '12.jpg' matches two images of q.json: "):
        match_images(by_id(ids), store, "q.json")
