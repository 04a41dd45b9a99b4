"""``check_store`` finds every changed, missing or added byte, and invalid values in foreign files."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.store import FeatureStore, Regions, StoreMetadata, reader
from bua.store.check import MAX_LISTED, check_store
from bua.store.schema import USER_BLOCK_BYTES, checksummed_columns, write_checksum
from tests.helpers.checksums import rewrite_checksum
from tests.helpers.stores import regions, write_store

NAMES = StoreMetadata("test", {"rule": 1}, "0" * 64, ("cat", "dog"), ("red",), grid=None)


def labelled(count: int, **changes: object) -> Regions:
    columns = {
        "class_id": np.arange(count, dtype=np.int32) % 2,
        "class_score": np.linspace(0, 1, count, dtype=np.float32),
        "attribute_id": np.zeros(count, np.int32),
        "attribute_score": np.full(count, 0.5, np.float32),
    }
    return regions(count, width=3, seed=count, **{**columns, **changes})


@pytest.fixture(scope="module", params=["numbers", "texts"])
def store(request, tmp_path_factory) -> Path:
    """A small store with every column."""
    ids = [7, 9] if request.param == "numbers" else ["käse.jpg", "b"]
    path = tmp_path_factory.mktemp("s") / "f.h5"
    return write_store(path, {ids[0]: labelled(2), ids[1]: labelled(3)}, NAMES)


def problems_of(path: Path) -> list[str]:
    """Return the problems that ``check_store`` finds, or the error if it cannot open the file."""
    try:
        return check_store(path)
    except InputError as error:
        return [str(error)]


def test_a_valid_store_has_no_problems(store) -> None:
    assert check_store(store) == []
    assert len(checksummed_columns(store)) == 6


@settings(max_examples=300, deadline=None)
@given(at=st.floats(0, 0.999999), flip=st.integers(1, 255))
def test_a_changed_byte_is_found_wherever_it_is(at, flip, store, tmp_path_factory) -> None:
    content = bytearray(store.read_bytes())
    content[int(at * len(content))] ^= flip
    path = tmp_path_factory.mktemp("d") / "f.h5"
    path.write_bytes(content)
    problems = problems_of(path)
    assert problems
    assert all("\n" not in line and line.startswith(f"{path}: ") for line in problems)


@settings(max_examples=300, deadline=None)
@given(at=st.floats(0, 0.999999), flip=st.integers(1, 255))
def test_a_changed_byte_never_ends_in_a_traceback_on_opening(at, flip, store, tmp_path_factory) -> None:
    content = bytearray(store.read_bytes())
    content[int(at * len(content))] ^= flip
    path = tmp_path_factory.mktemp("d") / "f.h5"
    path.write_bytes(content)
    message = f"{path}: "
    try:
        FeatureStore(path)
    except InputError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")


@pytest.mark.slow
def test_a_change_of_any_single_byte_is_found(store, tmp_path) -> None:
    content = bytearray(store.read_bytes())
    path = tmp_path / "f.h5"
    missed = []
    with open(path, "wb", buffering=0) as file:
        file.write(content)
        for at in range(len(content)):
            os.pwrite(file.fileno(), bytes([content[at] ^ 1]), at)
            if not problems_of(path):
                missed.append(at)
            os.pwrite(file.fileno(), bytes([content[at]]), at)
    assert missed == []
    assert len(content) > 5000


@settings(max_examples=60, deadline=None)
@given(length=st.floats(0, 0.999999))
def test_a_truncated_file_is_found_at_every_length(length, store, tmp_path_factory) -> None:
    content = store.read_bytes()
    path = tmp_path_factory.mktemp("d") / "f.h5"
    path.write_bytes(content[: int(length * len(content))])
    assert problems_of(path)


@settings(max_examples=20, deadline=None)
@given(more=st.binary(min_size=1, max_size=50))
def test_bytes_added_at_the_end_are_found(more, store, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("d") / "f.h5"
    path.write_bytes(store.read_bytes() + more)
    assert problems_of(path)


def test_structure_is_compared_before_hdf5_opens_the_file(store, tmp_path, monkeypatch) -> None:
    content = bytearray(store.read_bytes())
    content[USER_BLOCK_BYTES + 9] ^= 1
    (tmp_path / "f.h5").write_bytes(content)
    monkeypatch.setattr(h5py, "File", None)
    assert "changed since" in check_store(tmp_path / "f.h5")[0]


def test_a_changed_column_is_named_and_the_others_are_still_checked(store, tmp_path) -> None:
    content = bytearray(store.read_bytes())
    start, _ = checksummed_columns(store)["boxes"]
    content[start : start + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "f.h5").write_bytes(content)
    problems = check_store(tmp_path / "f.h5")
    assert any("boxes has changed since" in p for p in problems)
    assert any("boxes are not all finite" in p for p in problems)
    assert not any("features" in p for p in problems)


INVALID = {
    "NaN": (Regions(np.array([[np.inf, 0, 0]], np.float16), np.ones((1, 4), "f4"), (5, 5)), None),
    "box outside": (regions(2, width=3), "extends beyond the image of 3 x 2 pixels"),
    "box backwards": (regions(2, width=3), "has a negative width or height"),
    "class beyond": (labelled(3, class_id=np.array([0, 2, 0], "i4")), "class_id is not between 0 and 1"),
    "class below": (labelled(3, class_id=np.array([0, -1, 0], "i4")), "class_id is not between 0 and 1"),
    "attribute beyond": (
        labelled(1, attribute_id=np.array([1], "i4")),
        "attribute_id is not between 0 and 0",
    ),
    "score above": (labelled(1, class_score=np.array([1.1], "f4")), "class_score is not between 0 and 1"),
    "score below": (labelled(1, class_score=np.array([-0.1], "f4")), "class_score is not between 0 and 1"),
    "score NaN": (labelled(1, attribute_score=np.array([np.nan], "f4")), "attribute_score is not between"),
}


@pytest.mark.parametrize("name", sorted(set(INVALID) - {"NaN"}))
def test_invalid_values_are_reported_with_their_image(name: str, tmp_path) -> None:
    bad, message = INVALID[name]
    if name == "box outside":
        bad = Regions(bad.features, bad.boxes + np.float32(9), (2, 3))
    if name == "box backwards":
        bad = Regions(bad.features, bad.boxes[:, [2, 3, 0, 1]], (50, 50))
    good = labelled(2) if bad.class_id is not None else regions(2, width=3)
    problems = check_store(write_store(tmp_path / "f.h5", {1: good, 5: bad}, NAMES))
    assert len(problems) == 1
    assert "image 5: " in problems[0]
    assert message in problems[0]


def test_invalid_values_are_listed() -> None:
    assert len(INVALID) >= 9


@pytest.mark.parametrize(
    ("side", "inside", "outside"), [(0, -0.5, -3), (1, -0.5, -3), (2, 50.5, 53), (3, 40.5, 43)]
)
def test_a_box_may_extend_beyond_each_side_by_a_rounding_error_only(side, inside, outside, tmp_path) -> None:
    for n, value in enumerate((inside, outside)):
        box = np.array([[5, 5, 30, 30]], np.float32)
        box[0, side] = value
        image = Regions(np.zeros((1, 3), np.float16), box, (40, 50))
        problems = check_store(write_store(tmp_path / f"{n}.h5", {1: image}))
        assert len(problems) == n


def test_many_invalid_images_are_counted_after_the_first_ones(tmp_path) -> None:
    bad = Regions(np.zeros((1, 3), np.float16), np.array([[0, 0, 99, 5]], np.float32), (50, 50))
    problems = check_store(write_store(tmp_path / "f.h5", dict.fromkeys(range(30), bad)))
    assert len(problems) == MAX_LISTED + 1
    assert f"{30 - MAX_LISTED} more images: a box extends beyond" in problems[-1]


def test_columns_larger_than_a_chunk_are_read_in_chunks(tmp_path, monkeypatch) -> None:
    images = {n: regions(4, seed=n) for n in range(20)}
    images[13] = Regions(images[13].features, images[13].boxes + np.float32(99), (50, 50))
    path = write_store(tmp_path / "f.h5", images)
    monkeypatch.setattr("bua.store.check.CHUNK_BYTES", 70)
    problems = check_store(path)
    assert len(problems) == 1
    assert "image 13: a box extends beyond" in problems[0]


MALICIOUS = [
    "soft",
    "external",
    "external data",
    "virtual",
    "rows",
    "gap",
    "unowned",
    "duplicate id",
    "grid",
    "size",
]


@pytest.mark.parametrize("damage", MALICIOUS)
def test_malicious_and_broken_structure_is_found_although_the_checksum_matches(damage: str, tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(2), 2: regions(4)})
    with h5py.File(path, "r+") as file:
        if damage == "soft":
            del file["boxes"]
            file["boxes"] = h5py.SoftLink("/features")
        elif damage == "external":
            del file["boxes"]
            file["boxes"] = h5py.ExternalLink("/etc/hostname", "/x")
        elif damage == "external data":
            del file["boxes"]
            file.create_dataset("boxes", (6, 4), "f4", external=[("/etc/hostname", 0, 96)])
        elif damage == "virtual":
            del file["boxes"]
            layout = h5py.VirtualLayout((6, 4), "f4")
            layout[:] = h5py.VirtualSource("/nowhere.h5", "x", (6, 4))
            file.create_virtual_dataset("boxes", layout)
        elif damage == "rows":
            file["rows"][1] = [5, 3]
        elif damage == "gap":
            file["rows"][1] = [3, 6]
        elif damage == "unowned":
            file["rows"][1] = [2, 4]
        elif damage == "duplicate id":
            file["image_id"][1] = 1
        elif damage == "grid":
            file.attrs["grid"] = (2, 2)
        else:
            file["size"][1] = [0, 5]
    assert "damaged" in check_store(path)[0]
    rewrite_checksum(path)
    assert problems_of(path)


@pytest.mark.parametrize(("last", "unowned"), [([2, 4], 2), ([2, 3], 3), ([2, 6], None)])
def test_regions_of_no_image_are_counted(last, unowned, tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(2), 2: regions(4)})
    with h5py.File(path, "r+") as file:
        file["rows"][1] = last
    rewrite_checksum(path)
    assert problems_of(path) == ([f"{path}: {unowned} regions belong to no image"] if unowned else [])


def test_malicious_structures_are_listed() -> None:
    assert len(MALICIOUS) == 10


def test_a_checksum_header_with_wrong_column_positions_is_found(tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(2), 2: regions(4)})
    spans = checksummed_columns(path)
    write_checksum(path, {"features": spans["features"]})
    assert any("boxes is not at the position in the checksum header" in p for p in check_store(path))


def test_an_older_file_without_checksum_header_is_still_read_and_checked(tmp_path) -> None:
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
    assert any("features has changed since" in p for p in check_store(old))


def test_a_chunked_column_is_checked_through_hdf5(tmp_path) -> None:
    path = write_store(tmp_path / "f.h5", {1: regions(2), 2: regions(4)})
    old = tmp_path / "old.h5"
    with h5py.File(path) as source, h5py.File(old, "w") as out:
        out.attrs.update(dict(source.attrs))
        for name in source:
            chunked = {"chunks": (2, 6), "compression": "gzip"} if name == "features" else {}
            out.create_dataset(name, data=source[name][:], **chunked)
    assert check_store(old) == []


def test_a_file_that_crashes_the_library_is_one_line(shared) -> None:
    path = shared / "faults/sigsegv-unsealed.h5"
    for read in (FeatureStore, check_store):
        with pytest.raises(InputError, match="sigsegv-unsealed.h5: damaged: the HDF5 library crashes on it"):
            read(path)


def test_only_a_file_without_checksums_is_opened_in_another_process_and_only_once(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(reader, "_PROBE", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    sealed = write_store(tmp_path / "a.h5", {1: regions(1)})
    assert len(FeatureStore(sealed)) == 1
    unsealed = tmp_path / "b.h5"
    unsealed.write_bytes(sealed.read_bytes()[USER_BLOCK_BYTES:])
    with pytest.raises(InputError, match="the HDF5 library crashes on it"):
        FeatureStore(unsealed)
    monkeypatch.setattr(reader, "_PROBE", "")
    assert len(FeatureStore(unsealed)) == 1
    monkeypatch.setattr(reader, "_PROBE", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert len(FeatureStore(unsealed)) == 1


def test_a_chunked_column_is_checked_to_its_end(tmp_path, monkeypatch) -> None:
    images = {n: regions(4, seed=n) for n in range(20)}
    images[13] = Regions(images[13].features, images[13].boxes + np.float32(99), (50, 50))
    old = tmp_path / "old.h5"
    with h5py.File(write_store(tmp_path / "f.h5", images)) as source, h5py.File(old, "w") as out:
        out.attrs.update(dict(source.attrs))
        for name in source:
            chunks = (6, 4) if name == "boxes" else None
            out.create_dataset(name, data=source[name][:], chunks=chunks)
    monkeypatch.setattr("bua.store.check.CHUNK_BYTES", 112)
    assert check_store(old) == [f"{old}: image 13: a box extends beyond the image of 50 x 50 pixels"]
