"""Stores of one detector are joined; others are refused and both are named."""

import os
from dataclasses import replace

import h5py
import numpy as np
import pytest

from bua.errors import InputError
from bua.store import FeatureStore, Regions
from bua.store.check import check_store
from bua.store.merge import merge_stores
from tests.helpers.foreign_formats import ABOUT, same, sample, write


def test_images_of_all_stores_come_in_order(tmp_path) -> None:
    images = {n: sample(n % 4 + 1, n) for n in range(9)}
    parts = [[5, 1, 2], [0, 8], [3, 4, 6, 7]]
    paths = [write(tmp_path / f"{n}.h5", {i: images[i] for i in part}) for n, part in enumerate(parts)]
    done = merge_stores(paths, tmp_path / "all.h5")
    store = FeatureStore(tmp_path / "all.h5")
    assert store.image_ids == [i for part in parts for i in part]
    assert all(same(store[i], images[i]) for i in images)
    assert (done.images, done.regions, done.repeated) == (9, sum(map(len, images.values())), 0)
    assert check_store(tmp_path / "all.h5") == []
    assert store.about.origin == {"merged": ["0.h5", "1.h5", "2.h5"]}
    assert store.about.identity == ABOUT.identity
    assert sorted(os.listdir(tmp_path)) == ["0.h5", "1.h5", "2.h5", "all.h5"]


def test_an_image_in_several_stores_is_kept_once_and_counted(tmp_path) -> None:
    first = write(tmp_path / "a.h5", {1: sample(2, 1), 2: sample(2, 2)})
    second = write(tmp_path / "b.h5", {2: sample(2, 2), 3: sample(2, 3)})
    assert merge_stores([first, second], tmp_path / "c.h5").repeated == 1
    assert FeatureStore(tmp_path / "c.h5").image_ids == [1, 2, 3]


def test_an_image_with_other_contents_is_refused(tmp_path) -> None:
    first = write(tmp_path / "a.h5", {1: sample(2, 1), 2: sample(2, 2)})
    second = write(tmp_path / "b.h5", {2: sample(2, 9)})
    with pytest.raises(InputError, match=r"b.h5: image 2 is in .*a.h5 too, with other contents"):
        merge_stores([first, second], tmp_path / "c.h5")
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "b.h5"]


BARE = Regions(sample(2).features, sample(2).boxes, (37, 53))
GRID = replace(ABOUT, grid=(1, 2))
OTHERS = {
    "features of another detector": ({2: sample(2)}, replace(ABOUT, detector="other"), "float32"),
    "other class names": ({2: sample(2)}, replace(ABOUT, class_names=("a", "b", "c")), "float32"),
    "other attribute names": ({2: sample(2)}, replace(ABOUT, attribute_names=("a", "b")), "float32"),
    "another grid": ({2: sample(2)}, GRID, "float32"),
    "features of another width": ({2: sample(2, width=4)}, ABOUT, "float32"),
    "other columns or types": ({2: BARE}, ABOUT, "float32"),
    "ids of another kind": ({"2": sample(2)}, ABOUT, "float32"),
}


@pytest.mark.parametrize("what", sorted(OTHERS))
def test_stores_of_another_kind_are_refused_and_both_are_named(what: str, tmp_path) -> None:
    first = write(tmp_path / "a.h5", {1: sample(2)})
    second = write(tmp_path / "b.h5", *OTHERS[what])
    with pytest.raises(InputError, match=rf"b.h5: {what} than .*a.h5; they cannot be joined"):
        merge_stores([first, second], tmp_path / "c.h5")


def test_halves_and_floats_are_not_joined(tmp_path) -> None:
    halves = Regions(np.zeros((2, 11), np.float16), sample(2).boxes, (37, 53))
    floats = Regions(np.zeros((2, 11), np.float32), sample(2).boxes, (37, 53))
    first = write(tmp_path / "a.h5", {1: halves}, dtype="float16")
    second = write(tmp_path / "b.h5", {2: floats})
    with pytest.raises(InputError, match="other columns or types"):
        merge_stores([first, second], tmp_path / "c.h5")
    third = write(tmp_path / "d.h5", {2: halves}, dtype="float16")
    merge_stores([first, third], tmp_path / "c.h5")
    assert FeatureStore(tmp_path / "c.h5")[2].features.dtype == np.float16


def test_ways_to_be_of_another_kind_are_listed() -> None:
    assert len(OTHERS) == 7


def test_a_damaged_store_is_not_joined(tmp_path) -> None:
    first = write(tmp_path / "a.h5", {1: sample(2)})
    second = write(tmp_path / "b.h5", {2: sample(2)})
    with h5py.File(second, "r+") as file:
        file["features"][0, 0] += 1
    with pytest.raises(InputError, match=r"b.h5: .*not what was written"):
        merge_stores([first, second], tmp_path / "c.h5")


def test_mistakes_are_told(tmp_path) -> None:
    first = write(tmp_path / "a.h5", {1: sample(2)})
    for paths in ([first], [first, first]):
        with pytest.raises(InputError, match="two or more different files are needed"):
            merge_stores(paths, tmp_path / "c.h5")
    second = write(tmp_path / "b.h5", {2: sample(2)})
    with pytest.raises(InputError, match="b.h5: is there already"):
        merge_stores([first, second], second)
    with pytest.raises(InputError, match="no.h5: there is no such file"):
        merge_stores([first, tmp_path / "no.h5"], tmp_path / "c.h5")


def test_an_unfinished_run_is_not_swept_away(tmp_path) -> None:
    from bua.store import StoreWriter

    first = write(tmp_path / "a.h5", {1: sample(2)})
    second = write(tmp_path / "b.h5", {2: sample(2)})
    with StoreWriter(tmp_path / "c.h5", ABOUT, "float32") as writer:
        writer.write([(5, sample(2))])
    with pytest.raises(InputError, match=r"c.h5.shards: (an unfinished run|begun with)"):
        merge_stores([first, second], tmp_path / "c.h5")
    assert (tmp_path / "c.h5.shards").is_dir()
