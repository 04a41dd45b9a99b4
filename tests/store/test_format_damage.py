"""A damaged file of any format is read completely, partly or not at all, but never ends in a traceback."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.store.check import check_store
from bua.store.formats import FORMATS, isolated_reader
from bua.store.formats.source import InvalidImageError, RawImage
from bua.store.formats.validation import ImportRules, validate
from tests.helpers.foreign_formats import (
    export_file,
    import_file,
    sample_grid,
    sample_regions,
    write_sizes,
    write_store,
)

NAMES = sorted(FORMATS)


@pytest.fixture(scope="module", autouse=True)
def impatient():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolated_reader, "TIMEOUT_SECONDS", 4)
        yield


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """A folder with a subfolder for each format and a file of image sizes."""
    folder = tmp_path_factory.mktemp("foreign")
    images = {n: sample_regions(3, n) for n in (1, 2, 3)}
    grids = {n: sample_grid((2, 2), n) for n in (1, 2, 3)}
    store, grid = write_store(folder / "a.h5", images), write_store(folder / "g.h5", grids)
    for name in NAMES:
        export_file(name, grid if name == "grid_feats_pth" else store, folder / name / "f.tsv")
    write_sizes(folder / "sizes.json", images)
    return folder


def parts(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and "vocab" not in p.name)


def attempt(name: str, foreign: Path, folder: Path) -> None:
    message = ""
    try:
        import_file(name, folder / "f.tsv", folder / "b.h5", images=foreign / "sizes.json")
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    if not message:
        assert check_store(folder / "b.h5") == []


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(which=st.floats(0, 0.9999), at=st.floats(0, 0.9999), flip=st.integers(1, 255), times=st.integers(1, 4))
@pytest.mark.parametrize("name", NAMES)
def test_changed_bytes_never_end_in_a_traceback(
    name, which, at, flip, times, foreign, tmp_path_factory
) -> None:
    folder = tmp_path_factory.mktemp("d") / "x"
    shutil.copytree(foreign / name, folder)
    files = parts(folder)
    path = files[int(which * len(files))]
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(int(at * 10**6))
    for place in {int(at * len(content)), *rng.integers(0, max(len(content), 1), times - 1).tolist()}:
        if content:
            content[place] ^= flip
    path.write_bytes(content)
    attempt(name, foreign, folder)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(which=st.floats(0, 0.9999), fraction=st.floats(0, 0.9999))
@pytest.mark.parametrize("name", NAMES)
def test_truncated_files_never_end_in_a_traceback(name, which, fraction, foreign, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("d") / "x"
    shutil.copytree(foreign / name, folder)
    files = parts(folder)
    path = files[int(which * len(files))]
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    attempt(name, foreign, folder)


VALUES = [None, 7, "text", [], {}, [[1, 2], [3]], np.zeros(0), np.zeros((2, 2, 2)), np.array("x"), -1, 1e400]
KEYS = ["x", "bbox", "num_bbox", "image_h", "objects_id", "objects_conf", "info"]


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", VALUES, ids=lambda v: repr(v).replace("\n", ""))
def test_values_of_any_kind_in_an_npz_never_end_in_a_traceback(key, value, tmp_path) -> None:
    (tmp_path / "f").mkdir()
    for n in (1, 2):
        r = sample_regions(3, n)
        arrays = {"x": r.features, "bbox": r.boxes, "num_bbox": 3, "image_h": 37, "image_w": 53}
        info = {"objects_id": r.class_id, "objects_conf": r.class_score}
        if n == 2:
            {**arrays, "info": 0, **info}[key]
            target = info if key in info else arrays
            try:
                target[key] = np.array(value)
            except ValueError:  # ragged
                target[key] = np.array([*value, None], dtype=object)
        np.savez(tmp_path / "f" / f"{n}.npz", **{"info": np.array(info, dtype=object), **arrays})
    store, _ = import_file("mil_npz", tmp_path / "f", tmp_path / "b.h5")
    assert 1 in store


@pytest.mark.slow
@pytest.mark.parametrize("key", ["bbox", "num_boxes", "objects", "cls_prob", "image_width"])
@pytest.mark.parametrize("value", VALUES, ids=lambda v: repr(v).replace("\n", ""))
def test_values_of_any_kind_in_mmf_info_never_end_in_a_traceback(key, value, tmp_path) -> None:
    (tmp_path / "f").mkdir()
    for n in (1, 2):
        r = sample_regions(3, n)
        info = {"bbox": r.boxes, "num_boxes": 3, "objects": r.class_id, "image_width": 53, "image_height": 37}
        info["cls_prob"] = np.eye(3, dtype=np.float32)
        if n == 2:
            info[key] = value
        np.save(tmp_path / "f" / f"{n}.npy", r.features)
        np.save(tmp_path / "f" / f"{n}_info.npy", np.array(info, dtype=object))
    store, _ = import_file("mmf_npy", tmp_path / "f", tmp_path / "b.h5")
    assert 1 in store


def rules_of(**name_counts: int) -> ImportRules:
    return ImportRules(Path("x"), None, False, frozenset(), name_counts)


@pytest.mark.parametrize("shape", [(), (3, 1), (2,)])
def test_a_column_of_another_shape_is_refused_with_its_shape(shape) -> None:
    r = sample_regions(3)
    raw = RawImage(r.features, r.boxes, r.size, {"class_id": np.zeros(shape, np.int32)})
    with pytest.raises(
        InvalidImageError,
        match=re.escape(f"class_id must be numbers of shape (3,), got int32 of shape {shape}"),
    ):
        validate(raw, 1, rules_of())


def test_ids_without_known_names_may_be_any_that_a_store_can_hold() -> None:
    r = sample_regions(3)
    for rules in (rules_of(), rules_of(class_id=0), rules_of(class_id=2**31 - 1 + 1)):
        found, _ = validate(
            RawImage(r.features, r.boxes, r.size, {"class_id": np.array([0, 5, 2**31 - 1])}), 1, rules
        )
        assert found.class_id.tolist() == [0, 5, 2**31 - 1]
    for wrong, allowed in ((2**31, "the ids that a store can hold"), (-1, "the ids that a store can hold")):
        raw = RawImage(r.features, r.boxes, r.size, {"class_id": np.array([0, 5, wrong])})
        with pytest.raises(InvalidImageError, match=f"class_id {wrong} is not among {allowed}"):
            validate(raw, 1, rules_of())
    with pytest.raises(InvalidImageError, match="class_id 5 is not among the 5 names"):
        validate(
            RawImage(r.features, r.boxes, r.size, {"class_id": np.array([0, 5, 4])}), 1, rules_of(class_id=5)
        )
