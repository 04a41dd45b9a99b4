"""``bua features import``, ``export``, ``merge`` and ``check``, for every format."""

import json

import h5py
import pytest

from bua.store import FeatureStore
from bua.store.formats import FORMATS
from tests.helpers.commands import run_error, run_ok
from tests.helpers.foreign_formats import (
    ATTRIBUTES,
    CLASSES,
    identical,
    sample_grid,
    sample_regions,
    write_sizes,
    write_store,
)

GRID = "grid_feats_pth"


@pytest.fixture
def vocabulary(tmp_path) -> list[str]:
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    (tmp_path / "attributes.txt").write_text("\n".join(ATTRIBUTES))
    return [f"classes={tmp_path}/classes.txt", f"attributes={tmp_path}/attributes.txt"]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_is_exported_and_imported(name: str, tmp_path, vocabulary, capfd) -> None:
    images = {n: sample_grid((2, 3), n) if name == GRID else sample_regions(6, n) for n in (3, 1, 2)}
    store = write_store(tmp_path / "a.h5", images)
    sizes = write_sizes(tmp_path / "sizes.json", images)
    run_ok("features", "export", f"format={name}", f"file={store}", f"out={tmp_path}/f.tsv")
    captured = capfd.readouterr()
    assert f"f.tsv: 3 images, 18 regions as {name}" in captured.out
    assert all(line.startswith("bua features export: ") for line in captured.err.splitlines())
    more = [f"images={sizes}"] if not FORMATS[name].has_sizes else []
    source = f"source={tmp_path}/f.tsv"
    run_ok("features", "import", f"format={name}", source, f"out={tmp_path}/b.h5", *vocabulary, *more)
    assert "b.h5: 3 images, 18 regions (6.0 per image) at " in capfd.readouterr().out
    imported = FeatureStore(tmp_path / "b.h5")
    assert all(identical(imported[n], images[n], FORMATS[name].columns) for n in images)
    run_ok("features", "check", f"file={tmp_path}/b.h5")
    assert capfd.readouterr().out.strip() == f"{tmp_path}/b.h5: valid"


def test_all_formats_are_tested() -> None:
    assert len(FORMATS) >= 15


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["import", "format=tsv", "source=x", "out=y"],
            "format=tsv: must be one of pa_tsv, lxmert_tsv, mil_npz,",
        ),
        (
            ["export", "format=tsv", "file=x", "out=y"],
            "format=tsv: must be one of pa_tsv, lxmert_tsv, mil_npz,",
        ),
        (["import", "format=pa_tsv", "out=y"], "source must be given: source=..."),
        (["import", "format=pa_tsv", "source=/no.tsv", "out=y"], "/no.tsv: file does not exist"),
        (
            ["import", "format=pa_tsv", "source=x", "out=y", "dtype=int8"],
            "dtype=int8: must be float16 or float32",
        ),
        (
            ["import", "format=pa_tsv", "source=x", "out=y", "ids=roman"],
            "ids=roman: must be auto, number or text",
        ),
        (
            ["import", "format=m2_hdf5", "source=x", "out=y", "background=2"],
            "background=2: must be none, first or last",
        ),
        (
            ["import", "format=pa_tsv", "source=x", "out=y", "classes=/no.txt"],
            "/no.txt: file does not exist",
        ),
        (
            ["import", "format=pa_tsv", "source=x", "out=y", "images=/no.json"],
            "/no.json: file does not exist",
        ),
        (["import", "format=pa_tsv", "sorce=x", "out=y"], "no key 'sorce'; did you mean 'source'?"),
        (
            ["import", "format=pa_tsv", "source=x", "out=y", "shard_size=0"],
            "shard_size=0: must be an integer",
        ),
        (["export", "format=pa_tsv", "file=/no.h5", "out=y"], "/no.h5: file does not exist"),
        (["merge", "files=a.h5", "out=y"], "files=a.h5: must be a list, such as [a,b]"),
        (["merge", "files=[a.h5]", "out=y"], "must name two or more different files"),
        (["merge", "files=[/a.h5,/b.h5]", "out=y"], "/a.h5: file does not exist"),
    ],
)
def test_mistakes_are_reported_in_one_line(words, message, capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("x\n")
    assert message in run_error(capfd, "features", *words)


def test_dropped_images_are_reported_and_listed(tmp_path, capfd, vocabulary) -> None:
    store = write_store(tmp_path / "a.h5", {n: sample_regions(2, n) for n in range(14)})
    run_ok("features", "export", "format=pa_tsv", f"file={store}", f"out={tmp_path}/f.tsv")
    lines = (tmp_path / "f.tsv").read_text().splitlines()
    cut = [line if n < 2 else line[:-40] for n, line in enumerate(lines)]
    (tmp_path / "f.tsv").write_text("\n".join(cut))
    capfd.readouterr()
    command = ["features", "import", "format=pa_tsv", f"source={tmp_path}/f.tsv", f"out={tmp_path}/b.h5"]
    run_ok(*command)
    out, err = capfd.readouterr()
    errors = err.splitlines()
    assert len(errors) == 12
    assert errors[0].startswith("bua features import: dropped f.tsv line 3: features ")
    assert errors[-2:] == [
        "bua features import: 2 more",
        f"bua features import: 12 images were dropped, see {tmp_path}/b.import.json",
    ]
    assert "b.h5: 2 images, 4 regions" in out
    assert len(json.loads((tmp_path / "b.import.json").read_text())["dropped"]) == 12
    (tmp_path / "b.h5.lock").write_text("of a killed import")
    run_ok(*command)
    assert "2 images, 4 regions (2.0 per image), already imported" in capfd.readouterr().out
    assert not (tmp_path / "b.h5.lock").exists()
    assert "more than max_errors=1" in run_error(capfd, *command[:-1], f"out={tmp_path}/c.h5", "max_errors=1")


def test_repairs_are_counted(tmp_path, capfd) -> None:
    store = write_store(tmp_path / "a.h5", {n: sample_regions(1, n, width=1) for n in range(3)})
    run_ok("features", "export", "format=pa_tsv", f"file={store}", f"out={tmp_path}/f.tsv")
    (tmp_path / "f.tsv").write_text((tmp_path / "f.tsv").read_text().replace("=", ""))
    run_ok("features", "import", "format=pa_tsv", f"source={tmp_path}/f.tsv", f"out={tmp_path}/b.h5")
    assert "3 images: base64 without padding" in capfd.readouterr().out


def test_classes_can_be_left_out_and_boxes_can_be_whole_images(tmp_path, capfd) -> None:
    store = write_store(tmp_path / "a.h5", {1: sample_regions(2)})
    run_ok("features", "export", "format=mil_npz", f"file={store}", f"out={tmp_path}/f")
    words = [
        "classes=none",
        "attributes=none",
        "detector_name=caffe",
        "weights_sha256=" + "0" * 64,
        "dtype=float16",
    ]
    run_ok("features", "import", "format=mil_npz", f"source={tmp_path}/f", f"out={tmp_path}/b.h5", *words)
    found = FeatureStore(tmp_path / "b.h5")
    assert set(found[1].arrays()) == {"features", "boxes"}
    assert (found.metadata.detector, found.metadata.weights_sha256) == ("caffe", "0" * 64)
    assert found[1].features.dtype == "float16"
    run_ok("features", "export", "format=m2_hdf5", f"file={store}", f"out={tmp_path}/m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        del file["1_boxes"]
    sizes = write_sizes(tmp_path / "s.json", {1: sample_regions(2)})
    words = [f"images={sizes}", "boxes=whole"]
    run_ok("features", "import", "format=m2_hdf5", f"source={tmp_path}/m.h5", f"out={tmp_path}/c.h5", *words)
    assert FeatureStore(tmp_path / "c.h5")[1].boxes.tolist() == [[0, 0, 53, 37]] * 2


def test_stores_are_merged(tmp_path, capfd) -> None:
    write_store(tmp_path / "a.h5", {1: sample_regions(2, 1), 2: sample_regions(2, 2)})
    write_store(tmp_path / "b.h5", {2: sample_regions(2, 2), 3: sample_regions(3, 3)})
    run_ok("features", "merge", f"files=[{tmp_path}/a.h5,{tmp_path}/b.h5]", f"out={tmp_path}/c.h5")
    assert "c.h5: 3 images, 7 regions, 1 duplicates skipped" in capfd.readouterr().out
    run_ok("features", "check", f"file={tmp_path}/c.h5")


def test_damage_is_reported_by_check(tmp_path, capfd) -> None:
    path = write_store(tmp_path / "a.h5", {1: sample_regions(2)})
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    line = run_error(capfd, "features", "check", f"file={path}")
    assert line.startswith("bua features check: ")
    assert "a.h5: " in line


def test_a_file_without_a_checksum_header_is_reported_as_such(tmp_path, capfd) -> None:
    path = write_store(tmp_path / "a.h5", {1: sample_regions(2)})
    with h5py.File(path) as source, h5py.File(tmp_path / "old.h5", "w") as out:
        out.attrs.update(dict(source.attrs))
        for name in source:
            source.copy(name, out)
    run_ok("features", "check", f"file={tmp_path}/old.h5")
    assert "valid; without a checksum header" in capfd.readouterr().out
