"""The store gives back what was written, refuses what is damaged, and survives being killed."""

import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.store import FeatureStore, Regions, StoreMetadata, StoreWriter
from bua.store.check import check_store
from tests.conftest import ABOUT, regions, write_store
from tests.helpers.checksums import resealed

COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def same(a: Regions, b: Regions) -> bool:
    arrays, others = a.arrays(), b.arrays()
    return (
        a.size == b.size
        and arrays.keys() == others.keys()
        and all(np.array_equal(arrays[k], others[k]) and arrays[k].dtype == others[k].dtype for k in arrays)
    )


@settings(max_examples=25, deadline=None)
@given(counts=COUNTS, text_ids=st.booleans(), named=st.booleans(), shards=st.integers(1, 3))
def test_reading_gives_back_what_was_written(counts, text_ids, named, shards, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("s") / "f.h5"
    images = {}
    for n, count in enumerate(counts):
        more = {"class_id": np.arange(count, dtype=np.int32)} if named else {}
        images[f"bild-{n}-é" if text_ids else 10**10 + n] = regions(count, seed=n, **more)
    with StoreWriter(path, ABOUT) as writer:
        every = list(images.items())
        for part in range(shards):
            writer.write(every[part::shards])
        writer.pack(list(images))
    store = FeatureStore(path)
    assert store.image_ids == list(images)
    assert all(same(store[i], images[i]) for i in images)
    assert check_store(path) == []
    assert os.listdir(path.parent) == ["f.h5"]


@settings(max_examples=25, deadline=None)
@given(counts=COUNTS, order=st.randoms())
def test_padded_batches_hold_the_regions_and_say_where_they_are(counts, order, tmp_path_factory) -> None:
    images = {n: regions(count, seed=n) for n, count in enumerate(counts)}
    store = FeatureStore(write_store(tmp_path_factory.mktemp("s") / "f.h5", images))
    ids = list(images)
    order.shuffle(ids)
    batch = store.padded(ids)
    assert batch.features.shape == (len(ids), max(counts), 6)
    for n, i in enumerate(ids):
        assert batch.mask[n].sum() == len(images[i])
        assert batch.mask[n, : len(images[i])].all()
        assert np.array_equal(batch.features[n][batch.mask[n]], images[i].features)
        assert np.array_equal(batch.boxes[n][batch.mask[n]], images[i].boxes)
        assert not batch.features[n][~batch.mask[n]].any()


def test_about_survives_the_file(tmp_path) -> None:
    about = StoreMetadata(
        "d", {"a": [1, {"b": 2.5}]}, "f" * 64, ("cat", "é"), ("red",), {"bua": "1"}, "2026", grid=(2, 3)
    )
    read = FeatureStore(write_store(tmp_path / "f.h5", {1: regions(6)}, about)).about
    assert read.identity == about.identity
    assert (read.class_names, read.attribute_names) == (about.class_names, about.attribute_names)
    assert read.grid == (2, 3)
    assert set(read.sha256) == {"features", "boxes"}


def test_features_are_contiguous_and_mapped(tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(3), 2: regions(4)})
    with h5py.File(path) as file:
        assert file["features"].chunks is None
        assert file["features"].compression is None
    assert isinstance(FeatureStore(path)[1].features.base, np.memmap)


def _read_in_child(store: FeatureStore, queue) -> None:
    queue.put([float(store[i].features.astype(float).sum()) for i in store])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_that_was_read_can_be_read_in_a_child_process(method: str, tmp_path) -> None:
    store = FeatureStore(write_store(tmp_path / "f.h5", {n: regions(n + 1, seed=n) for n in range(3)}))
    here = [float(store[i].features.astype(float).sum()) for i in store]
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_read_in_child, args=(store, queue))
    process.start()
    assert queue.get(timeout=60) == here
    process.join(60)
    assert process.exitcode == 0


def test_a_store_pickles_as_its_path(tmp_path) -> None:
    store = FeatureStore(write_store(tmp_path / "f.h5", {n: regions(90, width=500) for n in range(5)}))
    assert len(store[0]) == 90
    assert len(pickle.dumps(store)) < 4000
    assert same(pickle.loads(pickle.dumps(store))[3], store[3])  # noqa: S301 - our own bytes


def test_a_chunked_file_of_another_program_is_read_too(tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {n: regions(3, seed=n) for n in range(4)})
    with h5py.File(path, "r+") as file:
        values = file["features"][:]
        del file["features"]
        file.create_dataset("features", data=values, chunks=(2, 6), compression="gzip")
    resealed(path)
    assert same(FeatureStore(path)[2], regions(3, seed=2))


def test_a_missing_image_is_named_with_the_file(tmp_path) -> None:
    store = FeatureStore(write_store(tmp_path / "f.h5", {1: regions(3)}))
    with pytest.raises(InputError, match=r"f.h5: there are no regions of image 7 among its 1 images"):
        store[7]
    with pytest.raises(InputError, match=r"2 of the 3 images of c.json have no regions here, the first is 5"):
        store.require([1, 5, 6], "c.json")


BAD = {
    "no regions": (regions(3).__class__(np.zeros((0, 6)), np.zeros((0, 4)), (5, 5)), "no regions"),
    "NaN": (Regions(np.full((1, 6), np.nan), np.zeros((1, 4)), (5, 5)), "not all finite"),
    "too few boxes": (Regions(np.zeros((2, 6)), np.zeros((1, 4)), (5, 5)), "2 features for 1 boxes"),
    "boxes of three": (Regions(np.zeros((1, 6)), np.zeros((1, 3)), (5, 5)), r"boxes are \(1, 3\)"),
    "too large": (Regions(np.full((1, 6), 1e6, np.float32), np.zeros((1, 4), np.float32), (5, 5)), "float16"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_unsound_regions_are_refused_and_nothing_is_left(name: str, tmp_path) -> None:
    bad, message = BAD[name]
    with StoreWriter(tmp_path / "f.h5", ABOUT) as writer, pytest.raises(InputError, match=message):
        writer.write([("x", bad)])
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "f.h5").exists()


def test_bad_regions_are_listed() -> None:
    assert len(BAD) == 5


def test_an_image_twice_is_refused(tmp_path) -> None:
    with StoreWriter(tmp_path / "f.h5", ABOUT) as writer:
        writer.write([(1, regions(2))])
        with pytest.raises(InputError, match="image 1 comes twice"):
            writer.write([(1, regions(2))])


def test_a_second_writer_is_told_who_the_first_is(tmp_path) -> None:
    with StoreWriter(tmp_path / "f.h5", ABOUT):
        code = (
            "import sys; from pathlib import Path; from bua.store import About, StoreWriter\n"
            "StoreWriter(Path(sys.argv[1]), About('test', {}, '')).__enter__()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "f.h5")], capture_output=True, text=True, check=False
        )
    assert f"process {os.getpid()} on" in done.stderr
    assert "is writing it" in done.stderr


def test_shards_of_another_detector_are_not_gone_on_with(tmp_path) -> None:
    with StoreWriter(tmp_path / "f.h5", ABOUT) as writer:
        writer.write([(1, regions(2))])
    other = StoreMetadata("another", {}, "1" * 64)
    with pytest.raises(InputError, match="another detector"), StoreWriter(tmp_path / "f.h5", other):
        pass


def test_a_shard_that_was_changed_is_not_packed(tmp_path) -> None:
    with StoreWriter(tmp_path / "f.h5", ABOUT) as writer:
        writer.write([(1, regions(2))])
        shard = writer.folder / "rank00-000000.h5"
        shard.write_bytes(shard.read_bytes()[:-7] + b"damage!")
        with pytest.raises(InputError, match="000000.h5: damaged"):
            writer.pack([1])


def test_a_manifest_line_cut_short_is_forgotten(tmp_path) -> None:
    with StoreWriter(tmp_path / "f.h5", ABOUT) as writer:
        writer.write([(1, regions(2))])
        writer.write([(2, regions(2))])
    manifest = tmp_path / "f.h5.shards" / "manifest-00.jsonl"
    manifest.write_text(manifest.read_text()[:-20])
    with StoreWriter(tmp_path / "f.h5", ABOUT) as writer:
        assert writer.done == {1}
        writer.write([(2, regions(2))])
        writer.pack([1, 2])
    assert len(FeatureStore(tmp_path / "f.h5")) == 2


def damaged(path: Path, how: str) -> str:
    """Damage a store and return what the error must say."""
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
        return "not a readable HDF5 file"
    if how == "html":
        path.write_text("<html>404</html>")
        return "not a readable HDF5 file"
    if how == "truncated":
        path.write_bytes(content[: len(content) * 2 // 3])
        return "not a readable HDF5 file|damaged"
    with h5py.File(path, "r+") as file:
        if how == "external link":
            del file["boxes"]
            file["boxes"] = h5py.ExternalLink("/etc/hostname", "/x")
            return "boxes is a link"
        if how == "soft link":
            del file["boxes"]
            file["boxes"] = h5py.SoftLink("/features")
            return "boxes is a link"
        if how == "external data":
            del file["boxes"]
            file.create_dataset("boxes", (6, 4), "f4", external=[("/etc/hostname", 0, 96)])
            return "boxes keeps its data in another file"
        if how == "virtual data":
            layout = h5py.VirtualLayout((6, 4), "f4")
            layout[:] = h5py.VirtualSource("/nowhere.h5", "x", (6, 4))
            del file["boxes"]
            file.create_virtual_dataset("boxes", layout)
            return "boxes keeps its data in another file"
        if how == "shape bomb":
            del file["features"]
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
            space = h5py.h5s.create_simple((10**9, 1024))
            h5py.h5d.create(file.id, b"features", h5py.h5t.NATIVE_FLOAT, space, dcpl=plan)
            return "more than the file stores"
        if how == "rows beyond the end":
            file["rows"][1] = [2, 999]
            return r"rows\[1\] is \[2, 999\]"
        if how == "an image without rows":
            file["rows"][1] = [3, 3]
            return r"rows\[1\]"
        if how == "shared rows":
            file["rows"][1] = [1, 3]
            return "two images own the same rows"
        if how == "wrong type":
            values = file["boxes"][:]
            del file["boxes"]
            file["boxes"] = values.astype("f8")
            return "boxes has type float64"
        if how == "missing boxes":
            del file["boxes"]
            return "no dataset boxes"
        if how == "missing attribute":
            del file.attrs["weights_sha256"]
            return "attribute is missing"
        if how == "future version":
            file.attrs["version"] = 9
            return "version 9"
        assert how == "an id twice"
        file["image_id"][1] = 1
        return "twice"


HOW = [
    "empty",
    "html",
    "truncated",
    "external link",
    "soft link",
    "external data",
    "virtual data",
    "shape bomb",
    "rows beyond the end",
    "an image without rows",
    "shared rows",
    "wrong type",
    "missing boxes",
    "missing attribute",
    "future version",
    "an id twice",
]


@pytest.mark.parametrize("how", HOW)
def test_damaged_and_hostile_files_are_refused_on_opening(how: str, tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(2), 2: regions(4)})
    message = damaged(path, how)
    resealed(path)
    with pytest.raises(InputError, match=rf"f.h5: .*({message})"):
        FeatureStore(path)


def test_ways_to_damage_are_listed() -> None:
    assert len(HOW) == 16


@settings(max_examples=20, deadline=None)
@given(at=st.floats(0, 0.999))
def test_a_flipped_bit_in_the_features_is_found_by_check(at: float, tmp_path_factory) -> None:
    path = write_store(tmp_path_factory.mktemp("s") / "f.h5", {1: regions(8), 2: regions(8)})
    with h5py.File(path) as file:
        offset, count = file["features"].id.get_offset(), file["features"].nbytes
    content = bytearray(path.read_bytes())
    content[offset + int(at * count)] ^= 1
    path.write_bytes(content)
    assert any("sha256" in problem for problem in check_store(path))


def test_check_names_the_image_with_a_box_outside(tmp_path) -> None:
    wrong = Regions(np.zeros((1, 6), np.float16), np.array([[0, 0, 99, 5]], np.float32), (50, 50))
    problems = check_store(write_store(tmp_path / "f.h5", {3: regions(2), 7: wrong}))
    assert len(problems) == 1
    assert "image 7: a box leaves the image" in problems[0]


def test_a_full_disk_ends_in_one_line_and_keeps_the_finished_shards(tmp_path) -> None:
    """Files may not grow beyond a limit, as if the disk were full; HDF5 must never meet it."""
    code = """
import resource, sys
from pathlib import Path
from bua.errors import InputError
from bua.store import StoreWriter
from tests.conftest import ABOUT, regions
with StoreWriter(Path(sys.argv[1]), ABOUT) as writer:
    writer.write([(1, regions(5))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    try:
        writer.write([(2, regions(900, width=1000))])
    except InputError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "f.h5")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stdout
    with StoreWriter(tmp_path / "f.h5", ABOUT) as writer:
        assert writer.done == {1}
        assert not list(writer.folder.glob("*.partial"))


def test_resource_limits_of_this_process_are_untouched() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
