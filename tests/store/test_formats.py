"""Every format preserves a store, reports what it cannot hold, and fails with one line."""

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.store import FeatureStore, Regions
from bua.store.check import check_store
from bua.store.formats import FORMATS, get_format
from bua.store.formats.export import Export
from bua.store.formats.export_store import export_store
from bua.structures.regions import OPTIONAL
from tests.helpers.foreign_formats import (
    METADATA,
    export_file,
    identical,
    import_file,
    sample_grid,
    sample_regions,
    write_sizes,
    write_store,
)
from tests.helpers.parity import ROOT

GRID = "grid_feats_pth"
REGIONS = sorted(set(FORMATS) - {GRID})
#: Formats whose libraries end badly on a full disk, so that the space is checked before.
RESERVING = [name for name in REGIONS if name.endswith(("_hdf5", "_lmdb"))]
NUMBERS = {"vqa_counting_hdf5", "nocaps_hdf5"}  # formats whose ids cannot be texts
ONE_COUNT = {"hengyuan_hdf5"}  # formats whose images all have one number of regions
SIZES = st.tuples(st.integers(6, 900), st.integers(6, 900))


def there_and_back(
    name: str, images: dict, folder: Path, metadata=METADATA, dtype: str = "float32", **options: object
) -> FeatureStore:
    """Write a store, export it, import the result and return it."""
    store = write_store(folder / "a.h5", images, metadata, dtype)
    export_file(name, store, folder / "foreign.tsv")
    if not FORMATS[name].has_sizes:
        options["images"] = write_sizes(folder / "sizes.json", images)
    found, result = import_file(name, folder / "foreign.tsv", folder / "b.h5", dtype=dtype, **options)
    assert (result.images, result.repaired, result.dropped) == (len(images), {}, {})
    assert check_store(folder / "b.h5") == []
    return found


@settings(max_examples=6, deadline=None)
@given(counts=st.lists(st.integers(1, 7), min_size=1, max_size=5), size=SIZES, seed=st.integers(0, 999))
@pytest.mark.parametrize("name", REGIONS)
def test_a_store_is_bitwise_identical_after_export_and_import(
    name: str, counts, size, seed, tmp_path_factory
) -> None:
    folder = tmp_path_factory.mktemp("t")
    if name in ONE_COUNT:
        counts = [counts[0]] * len(counts)
    ids = [7, 10**9, 42, 5, 391895][: len(counts)]
    images = {i: sample_regions(n, seed + i % 97, size=size) for i, n in zip(ids, counts, strict=True)}
    back = there_and_back(name, images, folder)
    assert set(back.image_ids) == set(images)
    for image, regions in images.items():
        assert identical(back[image], regions, FORMATS[name].columns), image
    assert set(back[ids[0]].arrays()) == {"features", "boxes", *FORMATS[name].columns}


@settings(max_examples=8, deadline=None)
@given(
    cells=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4),
    seed=st.integers(0, 999),
)
def test_grids_are_bitwise_identical_after_export_and_import(cells, seed, tmp_path_factory) -> None:
    images = {n: sample_grid(c, seed + n) for n, c in enumerate(cells)}
    back = there_and_back(GRID, images, tmp_path_factory.mktemp("t"))
    assert all(identical(back[i], images[i]) for i in images)


@pytest.mark.parametrize("name", sorted(set(REGIONS) - NUMBERS))
def test_string_ids_remain_strings(name: str, tmp_path) -> None:
    images = {"käse": sample_regions(3, 1), "b.jpg": sample_regions(3, 2), "7": sample_regions(3, 3)}
    back = there_and_back(name, images, tmp_path)
    assert set(back.image_ids) == set(images)
    assert all(identical(back[i], images[i], FORMATS[name].columns) for i in images)


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_formats_with_integer_ids_refuse_string_ids(name: str, tmp_path) -> None:
    store = write_store(tmp_path / "a.h5", {"käse": sample_regions(3)})
    with pytest.raises(InputError, match="image id 'käse' is a string"):
        export_file(name, store, tmp_path / "foreign")
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("name", REGIONS)
def test_float16_features_remain_identical(name: str, tmp_path) -> None:
    exact = {n: sample_regions(3, n) for n in (1, 2)}
    images = {
        n: Regions(**{**vars(r), "features": np.float16(np.clip(r.features, -9, 9))})
        for n, r in exact.items()
    }
    back = there_and_back(name, images, tmp_path, dtype="float16")
    assert all(identical(back[n], images[n], FORMATS[name].columns) for n in images)
    assert back[1].features.dtype == np.float16


@pytest.mark.parametrize("name", REGIONS)
def test_a_store_without_classes_is_exported_and_imported(name: str, tmp_path) -> None:
    images = {n: Regions(sample_regions(3, n).features, sample_regions(3, n).boxes, (37, 53)) for n in (1, 2)}
    back = there_and_back(name, images, tmp_path)
    assert all(identical(back[n], images[n], ()) for n in images)
    if name != "lxmert_tsv":  # whose four columns must be there, and are told to be zeros
        assert set(back[1].arrays()) == {"features", "boxes"}


def test_columns_that_lxmert_needs_and_the_store_lacks_are_reported(tmp_path) -> None:
    store = write_store(
        tmp_path / "a.h5", {1: Regions(sample_regions(3).features, sample_regions(3).boxes, (37, 53))}
    )
    messages = export_file("lxmert_tsv", store, tmp_path / "l.tsv")
    missing = "class_score, attribute_id, attribute_score: not in the store, but required by the format"
    assert any(missing in message for message in messages)


@pytest.mark.parametrize("name", REGIONS)
def test_what_a_format_cannot_hold_is_reported_once(name: str, tmp_path) -> None:
    messages = export_file(
        name, write_store(tmp_path / "a.h5", {1: sample_regions(3)}), tmp_path / "foreign.tsv"
    )
    form = FORMATS[name]
    lost = [column for column in OPTIONAL if column not in form.columns]
    assert sum("not supported by the format, left out" in line for line in messages) == bool(lost)
    assert all(any(column in line for line in messages) for column in lost)
    assert any("sizes of images" in line for line in messages) == (not form.has_sizes)
    assert len(messages) == len(set(messages))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_an_export_appears_only_when_it_is_complete(name: str, tmp_path, monkeypatch) -> None:
    """An interrupted writer leaves neither the file nor a part of it."""
    images = {1: sample_grid((2, 2), 1), 2: sample_grid((2, 2), 2)}
    store = write_store(tmp_path / "a.h5", images)
    before = set(os.listdir(tmp_path))
    original = FeatureStore.__getitem__

    def stopped(self, image):
        if image == 2:
            raise KeyboardInterrupt
        return original(self, image)

    monkeypatch.setattr(FeatureStore, "__getitem__", stopped)
    with pytest.raises(KeyboardInterrupt):
        export_file(name, store, tmp_path / "foreign.tsv")
    assert set(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_existing_files_are_not_overwritten(name: str, tmp_path) -> None:
    store = write_store(tmp_path / "a.h5", {1: sample_grid((2, 2))})
    export_file(name, store, tmp_path / "foreign.tsv")
    with pytest.raises(InputError, match="already exists; delete it or choose another out="):
        export_file(name, store, tmp_path / "foreign.tsv")


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("what", ["nothing", "an empty file", "an empty folder", "noise"])
def test_sources_that_are_not_of_the_format_are_named_in_one_line(name: str, what: str, tmp_path) -> None:
    path = tmp_path / "source.tsv"
    if what == "an empty folder":
        path.mkdir()
    elif what != "nothing":
        path.write_bytes(b"" if what == "an empty file" else bytes(range(256)) * 40)
    with pytest.raises(InputError, match="source") as error:
        import_file(name, path, tmp_path / "b.h5", images=None)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "b.h5").exists()


@pytest.mark.parametrize("name", sorted({"mil_npz", "openvqa_npz", "cocobu", "mmf_npy", "mmf_lmdb", GRID}))
@pytest.mark.parametrize("image", ["../up", "/root", "a/../b", "", "a//b", "n" * 300])
def test_ids_that_would_leave_the_folder_are_refused(name: str, image: str, tmp_path) -> None:
    store = write_store(tmp_path / "a.h5", {image: sample_grid((2, 2))})
    with pytest.raises(InputError, match=r"image id .* is (not a valid|too long for a) file name"):
        export_file(name, store, tmp_path / "foreign")
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("name", sorted({"mil_npz", "openvqa_npz", "cocobu", "mmf_npy", "mmf_lmdb"}))
def test_ids_with_folders_become_folders_and_remain_the_same(name: str, tmp_path) -> None:
    images = {"train/a.jpg": sample_regions(2, 1), "val/a.jpg": sample_regions(2, 2)}
    back = there_and_back(name, images, tmp_path)
    assert all(identical(back[i], images[i], FORMATS[name].columns) for i in images)


@pytest.mark.parametrize("name", ["pa_tsv", "lxmert_tsv", "vinvl_tsv", "oscar_tsv"])
def test_ids_that_would_break_a_row_are_refused(name: str, tmp_path) -> None:
    store = write_store(tmp_path / "a.h5", {"a\tb": sample_regions(2)})
    with pytest.raises(InputError, match="is empty or contains a tab or line break"):
        export_file(name, store, tmp_path / "foreign.tsv")


def test_class_names_are_written_next_to_an_export(tmp_path) -> None:
    store = write_store(tmp_path / "a.h5", {1: sample_regions(3)})
    messages = export_file("pa_tsv", store, tmp_path / "f.tsv")
    assert (tmp_path / "f.tsv.objects_vocab.txt").read_text() == "cat\ndog\nkäse"
    assert any("set classes=f.tsv.objects_vocab.txt" in line for line in messages)


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path, monkeypatch) -> None:
    store = write_store(tmp_path / "a.h5", {1: sample_regions(3)})
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("U", (), {"free": 1000}))
    for name in ("hengyuan_hdf5", "ban_hdf5", "vqa_counting_hdf5", "m2_hdf5", "nocaps_hdf5", "mmf_lmdb"):
        with pytest.raises(InputError, match=r"needs about [\d,]+ bytes, but only 1,000 can be written"):
            export_file(name, store, tmp_path / "foreign")


def test_a_wrong_name_lists_the_formats() -> None:
    with pytest.raises(InputError, match=r"format=tsv: must be one of pa_tsv, lxmert_tsv, mil_npz, "):
        get_format("tsv")


def test_exporting_a_missing_store_is_reported_in_one_line(tmp_path) -> None:
    with pytest.raises(InputError, match="no.h5: file does not exist"):
        export_store("pa_tsv", tmp_path / "no.h5", tmp_path / "f.tsv", print)


def test_the_table_of_formats_is_complete() -> None:
    assert len(FORMATS) >= 15
    assert {*REGIONS, GRID} == set(FORMATS), "each goes there and back above"
    assert all(form.description and form.columns <= set(OPTIONAL) for form in FORMATS.values())
    assert {"pa_tsv", "lxmert_tsv", "mil_npz", "m2_hdf5", "mmf_lmdb", "vinvl_tsv", GRID} <= set(FORMATS)


DOCS = (ROOT / "docs" / "formats.md").read_text()


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_page_describes_every_format_correctly(name: str) -> None:
    table, pitfalls = DOCS.split("## Pitfalls")
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    lacks, form = rows[0][4], FORMATS[name]
    assert ("sizes" in lacks) == (not form.has_sizes)
    assert ("boxes" in lacks) == (not form.has_boxes)
    assert ("classes" in lacks) == ("class_id" not in form.columns)
    assert ("attributes" in lacks) == ("class_id" in form.columns and "attribute_id" not in form.columns)
    assert any(f"`{name}`" in line for line in pitfalls.splitlines() if line.startswith("| `"))


def test_commands_of_the_page_compose() -> None:
    block = re.findall(r"```console\n(.*?)```", DOCS, re.DOTALL)[0]
    lines = [shlex.split(line.removeprefix("$ bua features ")) for line in block.strip().splitlines()]
    assert {words[0] for words in lines} == {"import", "export", "merge", "check"}
    for command, *words in lines:
        with initialize_config_module("bua.conf", version_base="1.3"):
            config = compose(f"features_{command}", words)
        assert all(word.split("=")[0] in config for word in words)


def test_formats_that_reserve_space_are_listed() -> None:
    assert len(RESERVING) == 6


@pytest.mark.parametrize("name", RESERVING)
def test_the_space_that_an_export_needs_is_known_before(name: str, tmp_path, monkeypatch) -> None:
    """Neither too little, or a full disk is noticed late, nor many times as much."""
    row_bytes: list[float] = []
    check = Export.check_free_space
    monkeypatch.setattr(
        Export, "check_free_space", lambda self, size: (row_bytes.append(size), check(self, size))[1]
    )
    images = {n: sample_regions(1, n, width=2048) for n in range(1, 101)}
    store = write_store(tmp_path / "a.h5", images)
    before = set(tmp_path.rglob("*"))
    export_file(name, store, tmp_path / "foreign.tsv")
    written = sum(f.stat().st_size for f in set(tmp_path.rglob("*")) - before if f.is_file())
    assert len(row_bytes) == 1
    assert written <= len(images) * row_bytes[0] + 2**20
    assert len(images) * row_bytes[0] <= 5 * written
