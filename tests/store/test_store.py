"""A store returns what was written, refuses damaged files, and survives a kill."""

import multiprocessing
import os
import pickle
import re
import resource
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.store import FeatureStore, Regions, StoreMetadata, StoreWriter
from bua.store.check import check_store
from tests.helpers.checksums import rewrite_checksum
from tests.helpers.stores import METADATA, regions, write_store

COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def same(a: Regions, b: Regions) -> bool:
    arrays, others = a.arrays(), b.arrays()
    return (
        a.size == b.size
        and arrays.keys() == others.keys()
        and all(np.array_equal(arrays[k], others[k]) and arrays[k].dtype == others[k].dtype for k in arrays)
    )


@settings(max_examples=25, deadline=None)
@given(counts=COUNTS, string_ids=st.booleans(), with_classes=st.booleans(), shards=st.integers(1, 3))
def test_reading_returns_what_was_written(counts, string_ids, with_classes, shards, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("s") / "f.h5"
    images = {}
    for n, count in enumerate(counts):
        columns = {"class_id": np.arange(count, dtype=np.int32)} if with_classes else {}
        images[f"bild-{n}-é" if string_ids else 10**10 + n] = regions(count, seed=n, **columns)
    with StoreWriter(path, METADATA) as writer:
        entries = list(images.items())
        for shard in range(shards):
            writer.write(entries[shard::shards])
        writer.pack(list(images))
    store = FeatureStore(path)
    assert store.image_ids == list(images)
    assert all(same(store[i], images[i]) for i in images)
    assert check_store(path) == []
    assert os.listdir(path.parent) == ["f.h5"]


@settings(max_examples=25, deadline=None)
@given(counts=COUNTS, order=st.randoms())
def test_padded_batches_hold_the_regions_and_their_mask(counts, order, tmp_path_factory) -> None:
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


def test_metadata_survive_the_file(tmp_path) -> None:
    metadata = StoreMetadata(
        "d", {"a": [1, {"b": 2.5}]}, "f" * 64, ("cat", "é"), ("red",), {"bua": "1"}, "2026", grid=(2, 3)
    )
    read = FeatureStore(write_store(tmp_path / "f.h5", {1: regions(6)}, metadata)).metadata
    assert read.identity == metadata.identity
    assert (read.class_names, read.attribute_names) == (metadata.class_names, metadata.attribute_names)
    assert read.grid == (2, 3)
    assert set(read.sha256) == {"features", "boxes"}


def test_features_are_contiguous_and_memory_mapped(tmp_path) -> None:
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


def test_a_chunked_file_of_another_program_is_read(tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {n: regions(3, seed=n) for n in range(4)})
    with h5py.File(path, "r+") as file:
        values = file["features"][:]
        del file["features"]
        file.create_dataset("features", data=values, chunks=(2, 6), compression="gzip")
    rewrite_checksum(path)
    assert same(FeatureStore(path)[2], regions(3, seed=2))


def test_a_missing_image_is_named_with_the_file(tmp_path) -> None:
    store = FeatureStore(write_store(tmp_path / "f.h5", {1: regions(3)}))
    with pytest.raises(InputError, match=r"f.h5: image 7 is not among the 1 images of this store"):
        store[7]
    with pytest.raises(
        InputError, match=r"2 of 3 images of c.json have no regions in this store, the first is 5"
    ):
        store.require_images([1, 5, 6], "c.json")


BAD = {
    "no regions": (regions(3).__class__(np.zeros((0, 6)), np.zeros((0, 4)), (5, 5)), "no regions"),
    "NaN": (Regions(np.full((1, 6), np.nan), np.zeros((1, 4)), (5, 5)), "not all finite"),
    "too few boxes": (Regions(np.zeros((2, 6)), np.zeros((1, 4)), (5, 5)), "2 features for 1 boxes"),
    "boxes of three": (Regions(np.zeros((1, 6)), np.zeros((1, 3)), (5, 5)), r"boxes are \(1, 3\)"),
    "too large": (Regions(np.full((1, 6), 1e6, np.float32), np.zeros((1, 4), np.float32), (5, 5)), "float16"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_invalid_regions_are_refused_and_leave_no_files(name: str, tmp_path) -> None:
    bad, message = BAD[name]
    with StoreWriter(tmp_path / "f.h5", METADATA) as writer, pytest.raises(InputError, match=message):
        writer.write([("x", bad)])
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "f.h5").exists()


def test_invalid_regions_are_listed() -> None:
    assert len(BAD) == 5


def test_a_duplicate_image_is_refused(tmp_path) -> None:
    with StoreWriter(tmp_path / "f.h5", METADATA) as writer:
        writer.write([(1, regions(2))])
        with pytest.raises(InputError, match="image 1 is duplicated"):
            writer.write([(1, regions(2))])


def test_a_second_writer_learns_who_the_first_is(tmp_path) -> None:
    with StoreWriter(tmp_path / "f.h5", METADATA):
        code = (
            "import sys; from pathlib import Path; from bua.store import StoreMetadata, StoreWriter\n"
            "StoreWriter(Path(sys.argv[1]), StoreMetadata('test', {}, '')).__enter__()"
        )
        result = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "f.h5")], capture_output=True, text=True, check=False
        )
    assert f"process {os.getpid()} on" in result.stderr
    assert "is being written by" in result.stderr


def test_shards_of_another_detector_are_not_resumed(tmp_path) -> None:
    with StoreWriter(tmp_path / "f.h5", METADATA) as writer:
        writer.write([(1, regions(2))])
    other = StoreMetadata("another", {}, "1" * 64)
    with pytest.raises(InputError, match="another detector"), StoreWriter(tmp_path / "f.h5", other):
        pass


def test_a_shard_that_was_changed_is_not_packed(tmp_path) -> None:
    with StoreWriter(tmp_path / "f.h5", METADATA) as writer:
        writer.write([(1, regions(2))])
        shard = writer.folder / "rank00-000000.h5"
        shard.write_bytes(shard.read_bytes()[:-7] + b"damage!")
        with pytest.raises(InputError, match="000000.h5: was damaged"):
            writer.pack([1])


def test_a_truncated_manifest_line_is_ignored(tmp_path) -> None:
    with StoreWriter(tmp_path / "f.h5", METADATA) as writer:
        writer.write([(1, regions(2))])
        writer.write([(2, regions(2))])
    manifest = tmp_path / "f.h5.shards" / "manifest-00.jsonl"
    manifest.write_text(manifest.read_text()[:-20])
    with StoreWriter(tmp_path / "f.h5", METADATA) as writer:
        assert writer.done == {1}
        writer.write([(2, regions(2))])
        writer.pack([1, 2])
    assert len(FeatureStore(tmp_path / "f.h5")) == 2


def damaged(path: Path, damage: str) -> str:
    """Damage a store and return a pattern for the error message."""
    content = path.read_bytes()
    if damage == "empty":
        path.write_bytes(b"")
        return "not a readable HDF5 file"
    if damage == "html":
        path.write_text("<html>404</html>")
        return "not a readable HDF5 file"
    if damage == "truncated":
        path.write_bytes(content[: len(content) * 2 // 3])
        return "not a readable HDF5 file|damaged"
    with h5py.File(path, "r+") as file:
        if damage == "external link":
            del file["boxes"]
            file["boxes"] = h5py.ExternalLink("/etc/hostname", "/x")
            return "boxes is a link"
        if damage == "soft link":
            del file["boxes"]
            file["boxes"] = h5py.SoftLink("/features")
            return "boxes is a link"
        if damage == "external data":
            del file["boxes"]
            file.create_dataset("boxes", (6, 4), "f4", external=[("/etc/hostname", 0, 96)])
            return "boxes stores its data in another file"
        if damage == "virtual data":
            layout = h5py.VirtualLayout((6, 4), "f4")
            layout[:] = h5py.VirtualSource("/nowhere.h5", "x", (6, 4))
            del file["boxes"]
            file.create_virtual_dataset("boxes", layout)
            return "boxes stores its data in another file"
        if damage == "shape bomb":
            del file["features"]
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
            space = h5py.h5s.create_simple((10**9, 1024))
            h5py.h5d.create(file.id, b"features", h5py.h5t.NATIVE_FLOAT, space, dcpl=plan)
            return "more than the file stores"
        if damage == "rows beyond the end":
            file["rows"][1] = [2, 999]
            return r"rows\[1\] must be a range between 0 and 6, got \[2, 999\]"
        if damage == "an image without rows":
            file["rows"][1] = [3, 3]
            return r"rows\[1\]"
        if damage == "shared rows":
            file["rows"][1] = [1, 3]
            return "two images own the same rows"
        if damage == "wrong type":
            values = file["boxes"][:]
            del file["boxes"]
            file["boxes"] = values.astype("f8")
            return "boxes must be float32, got float64"
        if damage == "missing boxes":
            del file["boxes"]
            return "dataset boxes is missing"
        if damage == "missing attribute":
            del file.attrs["weights_sha256"]
            return "attribute is missing"
        if damage == "future version":
            file.attrs["version"] = 9
            return "got version 9"
        assert damage == "a duplicate id"
        file["image_id"][1] = 1
        return "an image id is duplicated"


DAMAGES = [
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
    "a duplicate id",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_and_malicious_files_are_refused_on_opening(damage: str, tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(2), 2: regions(4)})
    message = damaged(path, damage)
    rewrite_checksum(path)
    with pytest.raises(InputError, match=rf"f.h5: .*({message})"):
        FeatureStore(path)


def test_ways_to_damage_are_listed() -> None:
    assert len(DAMAGES) == 16


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
    assert "image 7: a box extends beyond the image" in problems[0]


def test_a_full_disk_is_reported_in_one_line_and_keeps_the_finished_shards(tmp_path) -> None:
    """The size of files is limited, as if the disk were full; HDF5 must never reach the limit."""
    code = """
import resource, sys
from pathlib import Path
from bua.errors import InputError
from bua.store import StoreWriter
from tests.helpers.stores import METADATA, regions
with StoreWriter(Path(sys.argv[1]), METADATA) as writer:
    writer.write([(1, regions(5))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    try:
        writer.write([(2, regions(900, width=1000))])
    except InputError as error:
        print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "f.h5")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "cannot be written" in result.stdout
    with StoreWriter(tmp_path / "f.h5", METADATA) as writer:
        assert writer.done == {1}
        assert not list(writer.folder.glob("*.partial"))


def test_space_for_the_file_and_64_megabytes_more_must_be_free(tmp_path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")

    def write(free: int) -> None:
        monkeypatch.setattr("bua.store.store_file.shutil.disk_usage", lambda path: usage(2**50, 0, free))
        write_store(tmp_path / "f.h5", {1: regions(3)})

    with pytest.raises(InputError) as refused:
        write(0)
    needed = int(re.search(r"needs ([\d,]+) bytes", str(refused.value))[1].replace(",", ""))
    assert 2**20 <= needed < 2**21
    with pytest.raises(InputError, match="bytes are free|are free"):
        write(needed + 64 * 2**20 - 1)
    write(needed + 64 * 2**20)


def test_the_only_shard_of_an_interrupted_run_becomes_the_file_as_it_is(tmp_path, monkeypatch) -> None:
    with StoreWriter(tmp_path / "f.h5", METADATA) as writer:
        writer.write([(1, regions(3)), (2, regions(2))])
    monkeypatch.setattr("bua.store.writer.write_store_file", None)
    with StoreWriter(tmp_path / "f.h5", METADATA) as writer:
        writer.pack([1, 2])
    assert FeatureStore(tmp_path / "f.h5").image_ids == [1, 2]
    assert os.listdir(tmp_path) == ["f.h5"]


def test_resource_limits_of_this_process_are_untouched() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
