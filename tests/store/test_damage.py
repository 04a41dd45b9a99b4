"""``check`` finds every changed, missing or added byte, and what is unsound in files that others made."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.store import FeatureStore, Regions, StoreMetadata
from bua.store.check import NAMED, check_store
from bua.store.checksum import BLOCK, checksummed_columns, write_checksum
from tests.conftest import regions, write_store
from tests.helpers.checksums import resealed

NAMES = StoreMetadata("test", {"rule": 1}, "0" * 64, ("cat", "dog"), ("red",), grid=None)


def labelled(count: int, **more: object) -> Regions:
    columns = {
        "class_id": np.arange(count, dtype=np.int32) % 2,
        "class_score": np.linspace(0, 1, count, dtype=np.float32),
        "attribute_id": np.zeros(count, np.int32),
        "attribute_score": np.full(count, 0.5, np.float32),
    }
    return regions(count, width=3, seed=count, **{**columns, **more})


@pytest.fixture(scope="module", params=["numbers", "texts"])
def store(request, tmp_path_factory) -> Path:
    """A small store with every column."""
    ids = [7, 9] if request.param == "numbers" else ["käse.jpg", "b"]
    path = tmp_path_factory.mktemp("s") / "f.h5"
    return write_store(path, {ids[0]: labelled(2), ids[1]: labelled(3)}, NAMES)


def found(path: Path) -> list[str]:
    """Return what check says, also where it refuses to open the file."""
    try:
        return check_store(path)
    except InputError as error:
        return [str(error)]


def test_a_sound_store_is_sound(store) -> None:
    assert check_store(store) == []
    assert len(checksummed_columns(store)) == 6


@settings(max_examples=300, deadline=None)
@given(at=st.floats(0, 0.999999), flip=st.integers(1, 255))
def test_a_changed_byte_is_found_wherever_it_is(at, flip, store, tmp_path_factory) -> None:
    content = bytearray(store.read_bytes())
    content[int(at * len(content))] ^= flip
    path = tmp_path_factory.mktemp("d") / "f.h5"
    path.write_bytes(content)
    problems = found(path)
    assert problems
    assert all("\n" not in line and line.startswith(f"{path}: ") for line in problems)


@settings(max_examples=300, deadline=None)
@given(at=st.floats(0, 0.999999), flip=st.integers(1, 255))
def test_a_changed_byte_never_ends_in_a_traceback_on_opening(at, flip, store, tmp_path_factory) -> None:
    content = bytearray(store.read_bytes())
    content[int(at * len(content))] ^= flip
    path = tmp_path_factory.mktemp("d") / "f.h5"
    path.write_bytes(content)
    said = f"{path}: "
    try:
        FeatureStore(path)
    except InputError as error:
        said = str(error)
    assert said.startswith(f"{path}: ")


@pytest.mark.slow
def test_every_single_byte_counts(store, tmp_path) -> None:
    content = bytearray(store.read_bytes())
    path = tmp_path / "f.h5"
    missed = []
    with open(path, "wb", buffering=0) as file:
        file.write(content)
        for at in range(len(content)):
            os.pwrite(file.fileno(), bytes([content[at] ^ 1]), at)
            if not found(path):
                missed.append(at)
            os.pwrite(file.fileno(), bytes([content[at]]), at)
    assert missed == []
    assert len(content) > 5000


@settings(max_examples=60, deadline=None)
@given(length=st.floats(0, 0.999999))
def test_a_file_cut_short_is_found_at_every_length(length, store, tmp_path_factory) -> None:
    content = store.read_bytes()
    path = tmp_path_factory.mktemp("d") / "f.h5"
    path.write_bytes(content[: int(length * len(content))])
    assert found(path)


@settings(max_examples=20, deadline=None)
@given(more=st.binary(min_size=1, max_size=50))
def test_bytes_added_at_the_end_are_found(more, store, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("d") / "f.h5"
    path.write_bytes(store.read_bytes() + more)
    assert found(path)


def test_structure_is_compared_before_hdf5_sees_the_file(store, tmp_path, monkeypatch) -> None:
    content = bytearray(store.read_bytes())
    content[BLOCK + 9] ^= 1
    (tmp_path / "f.h5").write_bytes(content)
    monkeypatch.setattr(h5py, "File", None)
    assert "not what was written" in check_store(tmp_path / "f.h5")[0]


def test_a_changed_column_is_named_and_the_others_are_still_looked_at(store, tmp_path) -> None:
    content = bytearray(store.read_bytes())
    start, _ = checksummed_columns(store)["boxes"]
    content[start : start + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "f.h5").write_bytes(content)
    problems = check_store(tmp_path / "f.h5")
    assert any("boxes is not what was written" in p for p in problems)
    assert any("boxes are not all finite" in p for p in problems)
    assert not any("features" in p for p in problems)


UNSOUND = {
    "NaN": (Regions(np.array([[np.inf, 0, 0]], np.float16), np.ones((1, 4), "f4"), (5, 5)), None),
    "box outside": (regions(2, width=3), "leaves the image of 3 x 2"),
    "box backwards": (regions(2, width=3), "ends before it begins"),
    "class beyond": (labelled(3, class_id=np.array([0, 2, 0], "i4")), "class_id is not within 0 and 1"),
    "class below": (labelled(3, class_id=np.array([0, -1, 0], "i4")), "class_id is not within 0 and 1"),
    "attribute beyond": (labelled(1, attribute_id=np.array([1], "i4")), "attribute_id is not within 0 and 0"),
    "score above": (labelled(1, class_score=np.array([1.1], "f4")), "class_score is not within 0 and 1"),
    "score below": (labelled(1, class_score=np.array([-0.1], "f4")), "class_score is not within 0 and 1"),
    "score NaN": (labelled(1, attribute_score=np.array([np.nan], "f4")), "attribute_score is not within"),
}


@pytest.mark.parametrize("name", sorted(set(UNSOUND) - {"NaN"}))
def test_unsound_values_are_named_with_their_image(name: str, tmp_path) -> None:
    bad, message = UNSOUND[name]
    if name == "box outside":
        bad = Regions(bad.features, bad.boxes + np.float32(9), (2, 3))
    if name == "box backwards":
        bad = Regions(bad.features, bad.boxes[:, [2, 3, 0, 1]], (50, 50))
    good = labelled(2) if bad.class_id is not None else regions(2, width=3)
    problems = check_store(write_store(tmp_path / "f.h5", {1: good, 5: bad}, NAMES))
    assert len(problems) == 1
    assert "image 5: " in problems[0]
    assert message in problems[0]


def test_ways_to_be_unsound_are_listed() -> None:
    assert len(UNSOUND) >= 9


def test_many_unsound_images_are_counted_after_the_first(tmp_path) -> None:
    bad = Regions(np.zeros((1, 3), np.float16), np.array([[0, 0, 99, 5]], np.float32), (50, 50))
    problems = check_store(write_store(tmp_path / "f.h5", dict.fromkeys(range(30), bad)))
    assert len(problems) == NAMED + 1
    assert f"{30 - NAMED} more images: a box leaves" in problems[-1]


def test_columns_larger_than_a_piece_are_read_in_pieces(tmp_path, monkeypatch) -> None:
    images = {n: regions(4, seed=n) for n in range(20)}
    images[13] = Regions(images[13].features, images[13].boxes + np.float32(99), (50, 50))
    path = write_store(tmp_path / "f.h5", images)
    monkeypatch.setattr("bua.store.check.PIECE", 70)
    problems = check_store(path)
    assert len(problems) == 1
    assert "image 13: a box leaves" in problems[0]


HOSTILE = ["soft", "external", "external data", "virtual", "rows", "gap", "unowned", "twice", "grid", "size"]


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_and_broken_structure_is_found_though_the_seal_be_right(how: str, tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(2), 2: regions(4)})
    with h5py.File(path, "r+") as file:
        if how == "soft":
            del file["boxes"]
            file["boxes"] = h5py.SoftLink("/features")
        elif how == "external":
            del file["boxes"]
            file["boxes"] = h5py.ExternalLink("/etc/hostname", "/x")
        elif how == "external data":
            del file["boxes"]
            file.create_dataset("boxes", (6, 4), "f4", external=[("/etc/hostname", 0, 96)])
        elif how == "virtual":
            del file["boxes"]
            layout = h5py.VirtualLayout((6, 4), "f4")
            layout[:] = h5py.VirtualSource("/nowhere.h5", "x", (6, 4))
            file.create_virtual_dataset("boxes", layout)
        elif how == "rows":
            file["rows"][1] = [5, 3]
        elif how == "gap":
            file["rows"][1] = [3, 6]
        elif how == "unowned":
            file["rows"][1] = [2, 4]
        elif how == "twice":
            file["image_id"][1] = 1
        elif how == "grid":
            file.attrs["grid"] = (2, 2)
        else:
            file["size"][1] = [0, 5]
    assert "damaged" in check_store(path)[0]
    resealed(path)
    assert found(path)


def test_ways_to_be_hostile_are_listed() -> None:
    assert len(HOSTILE) == 10


def test_a_seal_that_points_elsewhere_than_the_columns_is_found(tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(2), 2: regions(4)})
    spans = checksummed_columns(path)
    write_checksum(path, {"features": spans["features"]})
    assert any("boxes does not lie where the seal says" in p for p in check_store(path))


def test_a_file_from_before_there_were_seals_is_still_read_and_checked(tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(2), 2: regions(4)})
    old = tmp_path / "old.h5"
    with h5py.File(path) as source, h5py.File(old, "w") as out:
        out.attrs.update(dict(source.attrs))
        for name in source:
            source.copy(name, out)
        del out.attrs["origin"]
    assert checksummed_columns(old) is None
    assert check_store(old) == []
    assert np.array_equal(FeatureStore(old)[2].features, regions(4).features)
    with h5py.File(old, "r+") as file:
        file["features"][3, 2] += 1
    assert any("features is not what was written" in p for p in check_store(old))


def test_a_chunked_column_is_checked_through_hdf5(tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(2), 2: regions(4)})
    old = tmp_path / "old.h5"
    with h5py.File(path) as source, h5py.File(old, "w") as out:
        out.attrs.update(dict(source.attrs))
        for name in source:
            chunked = {"chunks": (2, 6), "compression": "gzip"} if name == "features" else {}
            out.create_dataset(name, data=source[name][:], **chunked)
    assert check_store(old) == []
