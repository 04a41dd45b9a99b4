"""Stores of the same detector are merged; incompatible stores are refused, and both are named."""

import os
from dataclasses import replace

import h5py
import numpy as np
import pytest

from bua.errors import InputError
from bua.store import FeatureStore, Regions
from bua.store.check import check_store
from bua.store.merge import merge_stores
from tests.helpers.foreign_formats import METADATA, identical, sample_regions, write_store


def test_images_of_all_stores_come_in_order(tmp_path) -> None:
    images = {n: sample_regions(n % 4 + 1, n) for n in range(9)}
    parts = [[5, 1, 2], [0, 8], [3, 4, 6, 7]]
    paths = [write_store(tmp_path / f"{n}.h5", {i: images[i] for i in part}) for n, part in enumerate(parts)]
    result = merge_stores(paths, tmp_path / "all.h5")
    store = FeatureStore(tmp_path / "all.h5")
    assert store.image_ids == [i for part in parts for i in part]
    assert all(identical(store[i], images[i]) for i in images)
    assert (result.images, result.regions, result.repeated) == (9, sum(map(len, images.values())), 0)
    assert check_store(tmp_path / "all.h5") == []
    assert store.metadata.origin == {"merged": ["0.h5", "1.h5", "2.h5"]}
    assert store.metadata.identity == METADATA.identity
    assert sorted(os.listdir(tmp_path)) == ["0.h5", "1.h5", "2.h5", "all.h5"]


def test_an_image_in_several_stores_is_kept_once_and_counted(tmp_path) -> None:
    first = write_store(tmp_path / "a.h5", {1: sample_regions(2, 1), 2: sample_regions(2, 2)})
    second = write_store(tmp_path / "b.h5", {2: sample_regions(2, 2), 3: sample_regions(2, 3)})
    assert merge_stores([first, second], tmp_path / "c.h5").repeated == 1
    assert FeatureStore(tmp_path / "c.h5").image_ids == [1, 2, 3]


def test_an_image_with_different_regions_is_refused(tmp_path) -> None:
    first = write_store(tmp_path / "a.h5", {1: sample_regions(2, 1), 2: sample_regions(2, 2)})
    second = write_store(tmp_path / "b.h5", {2: sample_regions(2, 9)})
    with pytest.raises(InputError, match=r"b.h5: image 2 has other regions than in .*a.h5"):
        merge_stores([first, second], tmp_path / "c.h5")
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "b.h5"]


BARE = Regions(sample_regions(2).features, sample_regions(2).boxes, (37, 53))
GRID = replace(METADATA, grid=(1, 2))
OTHERS = {
    "detector or its configuration differs": (
        {2: sample_regions(2)},
        replace(METADATA, detector="other"),
        "float32",
    ),
    "class names differ": ({2: sample_regions(2)}, replace(METADATA, class_names=("a", "b", "c")), "float32"),
    "attribute names differ": (
        {2: sample_regions(2)},
        replace(METADATA, attribute_names=("a", "b")),
        "float32",
    ),
    "grid differs": ({2: sample_regions(2)}, GRID, "float32"),
    "feature size differs": ({2: sample_regions(2, width=4)}, METADATA, "float32"),
    "columns or dtypes differ": ({2: BARE}, METADATA, "float32"),
    "type of image ids differs": ({"2": sample_regions(2)}, METADATA, "float32"),
}


@pytest.mark.parametrize("what", sorted(OTHERS))
def test_incompatible_stores_are_refused_and_both_are_named(what: str, tmp_path) -> None:
    first = write_store(tmp_path / "a.h5", {1: sample_regions(2)})
    second = write_store(tmp_path / "b.h5", *OTHERS[what])
    with pytest.raises(InputError, match=rf"b.h5: {what} from .*a.h5; the stores cannot be merged"):
        merge_stores([first, second], tmp_path / "c.h5")


def test_float16_and_float32_stores_are_not_merged(tmp_path) -> None:
    halves = Regions(np.zeros((2, 11), np.float16), sample_regions(2).boxes, (37, 53))
    floats = Regions(np.zeros((2, 11), np.float32), sample_regions(2).boxes, (37, 53))
    first = write_store(tmp_path / "a.h5", {1: halves}, dtype="float16")
    second = write_store(tmp_path / "b.h5", {2: floats})
    with pytest.raises(InputError, match="columns or dtypes differ"):
        merge_stores([first, second], tmp_path / "c.h5")
    third = write_store(tmp_path / "d.h5", {2: halves}, dtype="float16")
    merge_stores([first, third], tmp_path / "c.h5")
    assert FeatureStore(tmp_path / "c.h5")[2].features.dtype == np.float16


def test_incompatibilities_are_listed() -> None:
    assert len(OTHERS) == 7


def test_a_damaged_store_is_not_merged(tmp_path) -> None:
    first = write_store(tmp_path / "a.h5", {1: sample_regions(2)})
    second = write_store(tmp_path / "b.h5", {2: sample_regions(2)})
    with h5py.File(second, "r+") as file:
        file["features"][0, 0] += 1
    with pytest.raises(InputError, match=r"b.h5: .*changed since"):
        merge_stores([first, second], tmp_path / "c.h5")


def test_user_errors_are_reported(tmp_path) -> None:
    first = write_store(tmp_path / "a.h5", {1: sample_regions(2)})
    for paths in ([first], [first, first]):
        with pytest.raises(InputError, match="must name two or more different files"):
            merge_stores(paths, tmp_path / "c.h5")
    second = write_store(tmp_path / "b.h5", {2: sample_regions(2)})
    with pytest.raises(InputError, match="b.h5: already exists"):
        merge_stores([first, second], second)
    with pytest.raises(InputError, match="no.h5: file does not exist"):
        merge_stores([first, tmp_path / "no.h5"], tmp_path / "c.h5")


def test_an_unfinished_run_is_not_deleted(tmp_path) -> None:
    from bua.store import StoreWriter

    first = write_store(tmp_path / "a.h5", {1: sample_regions(2)})
    second = write_store(tmp_path / "b.h5", {2: sample_regions(2)})
    with StoreWriter(tmp_path / "c.h5", METADATA, "float32") as writer:
        writer.write([(5, sample_regions(2))])
    with pytest.raises(InputError, match=r"c.h5.shards: (belongs to an unfinished run|was created with)"):
        merge_stores([first, second], tmp_path / "c.h5")
    assert (tmp_path / "c.h5.shards").is_dir()
