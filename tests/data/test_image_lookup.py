"""Which image of a feature store is that of a question."""

import time

import pytest

from bua.data.image_lookup import find_images, match_images
from bua.errors import InputError
from bua.store.reader import FeatureStore
from tests.helpers.stores import regions, write_store


def by_id(image_ids) -> dict:
    """Return what names each image: its id."""
    return {image_id: image_id for image_id in image_ids}


def test_images_named_by_texts_are_found_under_any_folder_and_ending(tmp_path) -> None:
    names = ["train/0a.jpg", "VizWiz_0.jpg", "x/1.jpg", "y/1.jpg"]
    store = FeatureStore(write_store(tmp_path / "f.h5", {name: regions(2) for name in names}))
    asked = ["0a", "VizWiz_0.jpg", "0a"]
    assert match_images(by_id(asked), store, "q.json") == {"0a": "train/0a.jpg", "VizWiz_0.jpg": "VizWiz_0.jpg"}
    with pytest.raises(
        InputError, match=r"1 of 2 images of q.json have no regions in this store, the first is '1'"
    ):
        match_images(by_id(["0a", "1"]), store, "q.json")  # there are two, and neither is taken
    numbers = FeatureStore(write_store(tmp_path / "n.h5", {2354786: regions(2)}))
    assert match_images(by_id(["2354786"]), numbers, "q.json") == {"2354786": 2354786}
    with pytest.raises(InputError, match="no regions in this store, the first is 3"):
        match_images(by_id([3]), store, "q.json")


@pytest.mark.parametrize(
    ("stored", "asked", "found"),
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
def test_an_image_is_found_where_its_name_and_folder_may_be_meant(tmp_path, stored, asked, found) -> None:
    store = FeatureStore(write_store(tmp_path / "f.h5", {stored: regions(2), type(stored)(7): regions(2)}))
    if found is None:
        with pytest.raises(InputError, match="1 of 1 images of q.json have no regions in this store"):
            match_images(by_id([asked]), store, "q.json")
    else:
        assert match_images(by_id([asked, asked]), store, "q.json") == {asked: found}


@pytest.mark.parametrize(
    ("stored", "asked", "found"),
    [
        (["0012.jpg", "12.jpg"], "0012.png", "0012.jpg"),  # names go before numbers
        (["0012.jpg", "12.jpg"], 12, "12.jpg"),
        (["0012.jpg", "00012.jpg"], 12, None),
        (["val/12.jpg", "12.jpg"], "val/12.png", "val/12.jpg"),  # and their own folders before any
        (["val/12.jpg", "12.jpg"], "12.png", "12.jpg"),
        (["val/12.jpg", "train/12.jpg"], "12.png", None),
        (["val/12.jpg", "train/12.jpg"], "train/12.png", "train/12.jpg"),
    ],
)
def test_of_several_images_that_may_be_meant_the_nearest_is_found(tmp_path, stored, asked, found) -> None:
    store = FeatureStore(write_store(tmp_path / "f.h5", {name: regions(2) for name in stored}))
    matches, missing = find_images(by_id([asked]), store)
    assert (matches.get(asked), missing) == (found, [] if found else [asked])


def test_images_are_found_in_a_time_that_grows_with_their_number() -> None:
    """Of a number of folders with the same names in each: with all pairs it would take a minute."""
    names = dict.fromkeys(f"{n // 1000}/{n % 1000}.jpg" for n in range(120_000))
    asked = [name.replace("jpg", "png") for name in names]
    started = time.process_time()
    assert list(find_images(by_id(asked), names)[0].values()) == list(names)
    assert time.process_time() - started < 15


@pytest.mark.parametrize("asked", [["a/12.jpg", "b/12.jpg"], ["12.jpg", "b/12.png"], [12, "12.jpg"]])
def test_one_image_of_a_store_is_never_two_of_the_questions(tmp_path, asked) -> None:
    store = FeatureStore(write_store(tmp_path / "f.h5", {"12.jpg": regions(2)}))
    with pytest.raises(InputError, match="image '12.jpg' matches two images of q.json: "):
        match_images(by_id(asked), store, "q.json")
