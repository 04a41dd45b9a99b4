"""An import counts dropped images, resumes after an interruption, and uses little memory."""

import json
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.store import FeatureStore, Regions
from bua.store.check import check_store
from bua.store.formats import FORMATS, importer
from bua.store.formats.image_ids import parse_image_id, parse_number
from bua.store.formats.import_store import UNKNOWN
from bua.store.formats.journal import report_path
from tests.helpers.foreign_formats import export_file, identical, import_file, sample_regions, write_store
from tests.helpers.tsv_rows import lxmert_row, pa_row, write_table

COCO = "COCO_val2014_000000000042"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (COCO, 42),
        ("COCO_train2014_000000391895.jpg", 391895),
        ("000000000042", 42),
        ("000000000042.jpg", 42),
        ("7", 7),
        ("0", 0),
        ("-3", -3),
        (9, 9),
        ("007", None),
        ("12x", None),
        ("n01440764_18", None),
        ("", None),
        ("1" * 19, None),
        ("COCO_val2014_42", None),
    ],
)
def test_a_number_is_an_integer_or_a_coco_file_name(name, found) -> None:
    assert parse_number(name) == found


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**17), 10**17))
def test_every_integer_is_the_id_of_its_string(value) -> None:
    assert parse_image_id(str(value), "number") == value
    assert parse_image_id(value, "text") == str(value)


def pa(path: Path, names: list, seeds: list[int] | None = None) -> Path:
    rows = [
        pa_row(name, sample_regions(2, seed)) for name, seed in zip(names, seeds or range(99), strict=False)
    ]
    return write_table(path, rows)


def ids(tmp_path: Path, names: list, **options: object) -> list:
    source = pa(tmp_path / "p.tsv", names)
    return import_file("pa_tsv", source, tmp_path / "b.h5", **options)[0].image_ids


def test_ids_are_integers_if_all_are(tmp_path) -> None:
    assert ids(tmp_path, [COCO, 7, "000000000009"]) == [42, 7, 9]


def test_ids_remain_strings_if_one_is_not_a_number(tmp_path) -> None:
    assert ids(tmp_path, ["b.png", COCO, 7]) == ["b.png", COCO, "7"]


def test_ids_remain_strings_even_if_only_the_last_one_is_not_a_number(tmp_path, monkeypatch) -> None:
    messages: list[str] = []
    source = pa(tmp_path / "p.tsv", [COCO, 7, 8, 9, "b.png"])
    store, result = import_file("pa_tsv", source, tmp_path / "b.h5", messages, shard_size=2)
    assert store.image_ids == [COCO, "7", "8", "9", "b.png"]
    assert result.images == 5
    assert messages == ["p.tsv line 5: the id 'b.png' is not a number: all ids are kept as strings"]


def test_an_invalid_row_does_not_turn_ids_into_strings(tmp_path) -> None:
    path = pa(tmp_path / "p.tsv", [COCO, 7])
    path.write_text(path.read_text() + "garbage\t1\t2\n")
    store, result = import_file("pa_tsv", path, tmp_path / "b.h5")
    assert store.image_ids == [42, 7]
    assert len(result.dropped) == 1


def test_ids_can_be_set_to_strings_or_integers(tmp_path) -> None:
    assert ids(tmp_path, [COCO, 7], ids="text") == [COCO, "7"]
    (tmp_path / "b.h5").unlink()
    source = pa(tmp_path / "q.tsv", [COCO, "x", 7])
    store, result = import_file("pa_tsv", source, tmp_path / "b.h5", ids="number")
    assert store.image_ids == [42, 7]
    assert result.dropped == {"q.tsv line 2": "the id 'x' is not a number"}


def test_duplicate_images_are_kept_once_and_reported_if_they_differ(tmp_path) -> None:
    source = pa(tmp_path / "p.tsv", [1, 2, 1, 3, 2, 1], [1, 2, 1, 3, 9, 1])
    for n, shard in enumerate((1, 2, 2000)):
        store, result = import_file("pa_tsv", source, tmp_path / f"{n}.h5", shard_size=shard)
        assert store.image_ids == [1, 2, 3]
        assert result.repaired == {"duplicate with equal regions, kept once": 2}
        assert result.dropped == {
            "p.tsv line 5": "duplicate of image 2 with other regions; the first one is kept"
        }
        assert identical(store[2], sample_regions(2, 2), ())


def test_the_same_image_under_two_names_is_a_duplicate(tmp_path) -> None:
    source = pa(tmp_path / "p.tsv", [COCO, 42], [1, 1])
    store, result = import_file("pa_tsv", source, tmp_path / "b.h5")
    assert store.image_ids == [42]
    assert sum(result.repaired.values()) == 1


def test_the_report_holds_every_reason(tmp_path) -> None:
    rows = [pa_row(1, sample_regions(2, 1)), {**pa_row(2, sample_regions(2, 2)), "boxes": ""}]
    import_file("pa_tsv", write_table(tmp_path / "p.tsv", rows), tmp_path / "b.h5")
    report = json.loads(report_path(tmp_path / "b.h5").read_text())
    assert report["images"] == 1
    assert (report["format"], report["source"]) == ("pa_tsv", "p.tsv")
    assert "boxes must have 32 bytes for 2 regions, got 0 bytes" in report["dropped"]["p.tsv line 2"]


def test_too_many_dropped_images_stop_an_import_that_resumes_with_a_higher_limit(tmp_path) -> None:
    rows = [pa_row(n, sample_regions(2, n)) for n in range(6)]
    for n in (2, 4):
        rows[n]["boxes"] = ""
    source = write_table(tmp_path / "p.tsv", rows)
    with pytest.raises(
        InputError, match=r"2 images are invalid, more than max_errors=1; the last: p.tsv line 5"
    ):
        import_file("pa_tsv", source, tmp_path / "b.h5", max_errors=1)
    assert not (tmp_path / "b.h5").exists()
    store, result = import_file("pa_tsv", source, tmp_path / "b.h5", max_errors=2)
    assert store.image_ids == [0, 1, 3, 5]
    assert len(result.dropped) == 2


def test_a_source_without_valid_images_is_refused_with_the_first_reason(tmp_path) -> None:
    rows = [{**pa_row(n, sample_regions(2, n)), "boxes": ""} for n in range(3)]
    with pytest.raises(
        InputError, match=r"p.tsv: none of its 3 images is valid; the first: p.tsv line 1: box"
    ):
        import_file("pa_tsv", write_table(tmp_path / "p.tsv", rows), tmp_path / "b.h5")


def test_the_first_valid_row_determines_the_feature_size(tmp_path) -> None:
    rows = [
        {**pa_row(0, sample_regions(2)), "boxes": ""},
        pa_row(1, sample_regions(2)),
        pa_row(2, sample_regions(2, width=9)),
    ]
    store, result = import_file("pa_tsv", write_table(tmp_path / "p.tsv", rows), tmp_path / "b.h5")
    assert store.image_ids == [1]
    assert list(result.dropped) == ["p.tsv line 1", "p.tsv line 3"]


def test_an_imported_store_records_its_origin(tmp_path) -> None:
    source = pa(tmp_path / "p.tsv", [1])
    metadata = import_file("pa_tsv", source, tmp_path / "b.h5")[0].metadata
    assert (metadata.detector, metadata.weights_sha256) == ("import:pa_tsv", UNKNOWN)
    assert metadata.configuration == {"format": "pa_tsv", "feature_size": 11, "boxes": "pixels"}
    assert metadata.origin == {"format": "pa_tsv", "source": "p.tsv"}
    known = {"detector": "caffe_r101", "weights_sha256": "ab" * 32}
    metadata = import_file("pa_tsv", source, tmp_path / "c.h5", **known)[0].metadata
    assert (metadata.detector, metadata.weights_sha256) == ("caffe_r101", "ab" * 32)


def test_two_files_of_one_format_have_the_same_detector(tmp_path) -> None:
    first = import_file("pa_tsv", pa(tmp_path / "p.tsv", [1]), tmp_path / "b.h5")[0].metadata
    second = import_file("pa_tsv", pa(tmp_path / "q.tsv", [2]), tmp_path / "c.h5")[0].metadata
    assert first.identity == second.identity


def test_a_finished_import_is_not_repeated(tmp_path) -> None:
    source = pa(tmp_path / "p.tsv", [1, 2, 1])
    before = import_file("pa_tsv", source, tmp_path / "b.h5")[1]
    stamp = (tmp_path / "b.h5").stat().st_mtime_ns
    again = import_file("pa_tsv", source, tmp_path / "b.h5")[1]
    assert (again.images, again.regions, again.repaired) == (before.images, before.regions, before.repaired)
    assert (tmp_path / "b.h5").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="b.h5: already exists, but was not imported from this source"):
        import_file("pa_tsv", pa(tmp_path / "q.tsv", [1]), tmp_path / "b.h5")
    with pytest.raises(InputError, match="already exists"):
        import_file("pa_tsv", source, tmp_path / "b.h5", dtype="float16")


class StopError(Exception):
    """Simulates an interruption."""


def stopping(monkeypatch, after: int) -> None:
    """Interrupt the writer after ``after`` shards."""
    original = importer.StoreWriter.write
    count = [0]

    def write_(self, images, errors=None):
        count[0] += 1
        if count[0] > after:
            raise StopError
        original(self, images, errors)

    monkeypatch.setattr(importer.StoreWriter, "write", write_)


@pytest.mark.parametrize("names", [list(range(9)), [COCO, *"abcdefgh"]])
@pytest.mark.parametrize("after", range(4))
def test_a_resumed_import_counts_earlier_repairs(after: int, names, tmp_path, monkeypatch) -> None:
    rows = [lxmert_row(name, sample_regions(n % 2 + 1, n)) for n, name in enumerate(names)]
    for n in (1, 3, 5, 8):
        rows[n]["boxes"] = str(rows[n]["boxes"]).rstrip("=")
        rows[n]["attrs_conf"] = str(rows[n]["attrs_conf"]).rstrip("=")
    rows[4]["features"] = ""
    rows.insert(7, rows[2])
    source = write_table(tmp_path / "l.tsv", rows)
    reference, expected = import_file("lxmert_tsv", source, tmp_path / "reference.h5", shard_size=2)
    with monkeypatch.context() as patch:
        stopping(patch, after)
        with pytest.raises(StopError):
            import_file("lxmert_tsv", source, tmp_path / "b.h5", shard_size=2)
    store, result = import_file("lxmert_tsv", source, tmp_path / "b.h5", shard_size=2)
    assert store.image_ids == reference.image_ids
    assert all(identical(store[i], reference[i]) for i in reference)
    assert (result.images, result.regions) == (expected.images, expected.regions)
    assert (result.repaired, result.dropped) == (expected.repaired, expected.dropped)
    assert sum(result.repaired.values()) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "b.h5",
        "b.import.json",
        "l.tsv",
        "reference.h5",
        "reference.import.json",
    ]


def test_images_in_finished_shards_are_not_decoded_again(tmp_path, monkeypatch) -> None:
    source = pa(tmp_path / "p.tsv", list(range(8)))
    with monkeypatch.context() as patch:
        stopping(patch, 3)
        with pytest.raises(StopError):
            import_file("pa_tsv", source, tmp_path / "b.h5", shard_size=2)
    seen = []
    original = importer.validate
    monkeypatch.setattr(
        importer, "validate", lambda raw, image, rules: (seen.append(image), original(raw, image, rules))[1]
    )
    import_file("pa_tsv", source, tmp_path / "b.h5", shard_size=2)
    assert seen == ["0", 6, 7]  # the first one again, for its feature size


def test_shards_of_another_source_are_not_resumed(tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        stopping(patch, 1)
        with pytest.raises(StopError):
            import_file("pa_tsv", pa(tmp_path / "p.tsv", [1, 2]), tmp_path / "b.h5", shard_size=1)
    with pytest.raises(InputError, match="b.h5.shards: was created from another source"):
        import_file("pa_tsv", pa(tmp_path / "q.tsv", [1, 2]), tmp_path / "b.h5", shard_size=1)


IMPORTER = """
import sys
from pathlib import Path
from tests.helpers.foreign_formats import import_file
print("ready", flush=True)
import_file("pa_tsv", Path(sys.argv[1]), Path(sys.argv[2]), shard_size=10)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes_and_ends_in_the_same_contents(tmp_path) -> None:
    rows = [pa_row(n, sample_regions(20, n, width=600)) for n in range(120)]
    source = write_table(tmp_path / "p.tsv", rows)

    def start(out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", IMPORTER, str(source), str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        return process

    started = time.monotonic()
    assert start(tmp_path / "reference.h5").wait() == 0
    duration = time.monotonic() - started
    reference = FeatureStore(tmp_path / "reference.h5")
    killed = 0
    for n in range(4):
        out = tmp_path / f"{n}.h5"
        for fraction in (0.02 + 0.09 * n, 0.15):
            process = start(out)
            time.sleep(duration * fraction)
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        assert start(out).wait() == 0
        store = FeatureStore(out)
        assert store.image_ids == reference.image_ids
        assert store.metadata.sha256 == reference.metadata.sha256
        assert check_store(out) == []
        assert not list(tmp_path.glob(f"{n}.h5.*"))
    assert killed >= 4


def test_imports_and_exports_use_little_memory(tmp_path, monkeypatch) -> None:
    """A file of 30 MB is imported in shards of 1 MB, and exported, using less than 6 MB."""
    rows = (pa_row(n, sample_regions(16, n, width=2048)) for n in range(180))
    with open(tmp_path / "p.tsv", "w") as file:
        for row in rows:
            file.write("\t".join(map(str, row.values())) + "\n")
    assert (tmp_path / "p.tsv").stat().st_size > 30_000_000
    monkeypatch.setattr(importer, "SHARD_BYTES", 2**20)
    tracemalloc.start()
    try:
        store, _ = import_file("pa_tsv", tmp_path / "p.tsv", tmp_path / "b.h5")
        first = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        export_file("lxmert_tsv", tmp_path / "b.h5", tmp_path / "l.tsv")
        second = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(store) == 180
    assert max(first, second) < 6_000_000


def test_shards_are_also_limited_in_bytes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(importer, "SHARD_BYTES", 200)
    stopping(monkeypatch, 3)
    with pytest.raises(StopError):
        import_file("pa_tsv", pa(tmp_path / "p.tsv", range(20)), tmp_path / "b.h5")
    lines = (tmp_path / "b.h5.shards" / "manifest-00.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["ids"]) for line in lines[1:]] == [3, 3, 3]


def test_images_without_a_column_of_the_first_are_dropped_and_surplus_columns_removed(tmp_path) -> None:
    some, none = sample_regions(3, 1), sample_regions(3, 2)
    bare = Regions(none.features, none.boxes, none.size)
    for folder, first, second in (("x", some, bare), ("y", bare, some)):
        for n, r in ((1, first), (2, second)):
            export_file(
                "mil_npz", write_store(tmp_path / f"{folder}{n}.h5", {n: r}), tmp_path / f"{folder}{n}"
            )
        (tmp_path / f"{folder}2" / "2.npz").rename(tmp_path / f"{folder}1" / "2.npz")
    store, result = import_file("mil_npz", tmp_path / "x1", tmp_path / "b.h5")
    assert (store.image_ids, len(result.dropped)) == ([1], 1)
    assert "attribute_id, attribute_score, class_id, class_score missing" in result.dropped["2.npz"]
    store, result = import_file("mil_npz", tmp_path / "y1", tmp_path / "c.h5")
    assert (store.image_ids, list(result.repaired.values())) == ([1, 2], [1])


def test_other_float_types_become_float32_and_are_counted(tmp_path) -> None:
    (tmp_path / "f").mkdir()
    r = sample_regions(3)
    for n, kind in enumerate((np.float64, np.float16)):
        np.savez(
            tmp_path / "f" / f"{n}.npz",
            x=np.clip(r.features, -9, 9).astype(kind),
            bbox=r.boxes,
            image_h=37,
            image_w=53,
        )
    store, result = import_file("mil_npz", tmp_path / "f", tmp_path / "b.h5")
    assert store[0].features.dtype == store[1].features.dtype == np.float32
    assert result.repaired == {
        "features converted from float64 to float32": 1,
        "features converted from float16 to float32": 1,
    }


def test_features_too_large_for_float16_are_refused(tmp_path) -> None:
    r = sample_regions(2)
    big = Regions(np.full((2, 11), 1e6, np.float32), r.boxes, r.size)
    source = write_table(tmp_path / "p.tsv", [pa_row(1, big)])
    with pytest.raises(InputError, match="do not fit float16; set dtype=float32"):
        import_file("pa_tsv", source, tmp_path / "b.h5", dtype="float16")


def test_torch_is_not_imported_for_foreign_formats() -> None:
    code = "import sys, bua.store.formats.import_store, bua.store.formats.export_store, bua.store.merge\n"
    code += "print('torch' in sys.modules, 'lmdb' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False False"
    assert len(FORMATS) >= 15
