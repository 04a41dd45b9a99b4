"""An import counts what it leaves out, goes on where it stopped, and holds little in memory."""

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
from bua.store.formats import FORMATS, passage
from bua.store.formats.image_ids import image_id, number
from bua.store.formats.import_store import UNKNOWN
from bua.store.formats.journal import report_file
from tests.helpers.foreign_formats import bring, same, sample, send, write
from tests.store.test_format_tsv import lxmert_row, pa_row, table

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
def test_a_number_is_whole_or_named_as_coco_names_its_files(name, found) -> None:
    assert number(name) == found


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**17), 10**17))
def test_every_number_is_the_id_of_its_text(value) -> None:
    assert image_id(str(value), "number") == value
    assert image_id(value, "text") == str(value)


def pa(path: Path, names: list, seeds: list[int] | None = None) -> Path:
    rows = [pa_row(name, sample(2, seed)) for name, seed in zip(names, seeds or range(99), strict=False)]
    return table(path, rows)


def ids(tmp_path: Path, names: list, **options: object) -> list:
    source = pa(tmp_path / "p.tsv", names)
    return bring("pa_tsv", source, tmp_path / "b.h5", **options)[0].image_ids


def test_ids_are_numbers_where_all_are(tmp_path) -> None:
    assert ids(tmp_path, [COCO, 7, "000000000009"]) == [42, 7, 9]


def test_ids_stay_texts_where_one_is_no_number(tmp_path) -> None:
    assert ids(tmp_path, ["b.png", COCO, 7]) == ["b.png", COCO, "7"]


def test_ids_stay_texts_also_where_the_last_one_is_no_number(tmp_path, monkeypatch) -> None:
    said: list[str] = []
    source = pa(tmp_path / "p.tsv", [COCO, 7, 8, 9, "b.png"])
    store, done = bring("pa_tsv", source, tmp_path / "b.h5", said, shard_size=2)
    assert store.image_ids == [COCO, "7", "8", "9", "b.png"]
    assert done.images == 5
    assert said == ["p.tsv line 5: the id 'b.png' is not a number: all ids are kept as texts"]


def test_a_row_that_cannot_be_used_does_not_make_ids_texts(tmp_path) -> None:
    path = pa(tmp_path / "p.tsv", [COCO, 7])
    path.write_text(path.read_text() + "garbage\t1\t2\n")
    store, done = bring("pa_tsv", path, tmp_path / "b.h5")
    assert store.image_ids == [42, 7]
    assert len(done.dropped) == 1


def test_ids_can_be_told_to_be_texts_or_numbers(tmp_path) -> None:
    assert ids(tmp_path, [COCO, 7], ids="text") == [COCO, "7"]
    (tmp_path / "b.h5").unlink()
    source = pa(tmp_path / "q.tsv", [COCO, "x", 7])
    store, done = bring("pa_tsv", source, tmp_path / "b.h5", ids="number")
    assert store.image_ids == [42, 7]
    assert done.dropped == {"q.tsv line 2": "the id 'x' is not a number"}


def test_images_that_come_twice_are_kept_once_and_told_when_they_differ(tmp_path) -> None:
    source = pa(tmp_path / "p.tsv", [1, 2, 1, 3, 2, 1], [1, 2, 1, 3, 9, 1])
    for n, shard in enumerate((1, 2, 2000)):
        store, done = bring("pa_tsv", source, tmp_path / f"{n}.h5", shard_size=shard)
        assert store.image_ids == [1, 2, 3]
        assert done.repaired == {"images that came twice, the same both times: kept once": 2}
        assert done.dropped == {"p.tsv line 5": "image 2 came before with other contents, which are kept"}
        assert same(store[2], sample(2, 2), ())


def test_the_same_image_under_two_names_comes_twice(tmp_path) -> None:
    source = pa(tmp_path / "p.tsv", [COCO, 42], [1, 1])
    store, done = bring("pa_tsv", source, tmp_path / "b.h5")
    assert store.image_ids == [42]
    assert sum(done.repaired.values()) == 1


def test_the_report_holds_every_reason(tmp_path) -> None:
    rows = [pa_row(1, sample(2, 1)), {**pa_row(2, sample(2, 2)), "boxes": ""}]
    bring("pa_tsv", table(tmp_path / "p.tsv", rows), tmp_path / "b.h5")
    report = json.loads(report_file(tmp_path / "b.h5").read_text())
    assert report["images"] == 1
    assert (report["format"], report["source"]) == ("pa_tsv", "p.tsv")
    assert "boxes has 0 bytes" in report["dropped"]["p.tsv line 2"]


def test_more_left_out_than_allowed_stops_and_goes_on_when_more_is_allowed(tmp_path) -> None:
    rows = [pa_row(n, sample(2, n)) for n in range(6)]
    for n in (2, 4):
        rows[n]["boxes"] = ""
    source = table(tmp_path / "p.tsv", rows)
    with pytest.raises(
        InputError, match=r"2 images cannot be used, more than max_errors=1; the last: p.tsv line 5"
    ):
        bring("pa_tsv", source, tmp_path / "b.h5", max_errors=1)
    assert not (tmp_path / "b.h5").exists()
    store, done = bring("pa_tsv", source, tmp_path / "b.h5", max_errors=2)
    assert store.image_ids == [0, 1, 3, 5]
    assert len(done.dropped) == 2


def test_a_source_of_which_nothing_can_be_used_is_refused_with_the_first_reason(tmp_path) -> None:
    rows = [{**pa_row(n, sample(2, n)), "boxes": ""} for n in range(3)]
    with pytest.raises(
        InputError, match=r"p.tsv: none of its 3 images can be used; the first: p.tsv line 1: box"
    ):
        bring("pa_tsv", table(tmp_path / "p.tsv", rows), tmp_path / "b.h5")


def test_the_first_row_that_can_be_used_says_what_the_others_must_be_like(tmp_path) -> None:
    rows = [{**pa_row(0, sample(2)), "boxes": ""}, pa_row(1, sample(2)), pa_row(2, sample(2, width=9))]
    store, done = bring("pa_tsv", table(tmp_path / "p.tsv", rows), tmp_path / "b.h5")
    assert store.image_ids == [1]
    assert list(done.dropped) == ["p.tsv line 1", "p.tsv line 3"]


def test_what_a_store_says_of_its_origin(tmp_path) -> None:
    source = pa(tmp_path / "p.tsv", [1])
    about = bring("pa_tsv", source, tmp_path / "b.h5")[0].about
    assert (about.detector, about.weights_sha256) == ("import:pa_tsv", UNKNOWN)
    assert about.configuration == {"format": "pa_tsv", "feature_size": 11, "boxes": "pixels"}
    assert about.origin == {"format": "pa_tsv", "source": "p.tsv"}
    known = {"detector": "caffe_r101", "weights_sha256": "ab" * 32}
    about = bring("pa_tsv", source, tmp_path / "c.h5", **known)[0].about
    assert (about.detector, about.weights_sha256) == ("caffe_r101", "ab" * 32)


def test_two_files_of_one_format_are_of_one_detector(tmp_path) -> None:
    first = bring("pa_tsv", pa(tmp_path / "p.tsv", [1]), tmp_path / "b.h5")[0].about
    second = bring("pa_tsv", pa(tmp_path / "q.tsv", [2]), tmp_path / "c.h5")[0].about
    assert first.identity == second.identity


def test_an_import_that_is_done_is_not_done_again(tmp_path) -> None:
    source = pa(tmp_path / "p.tsv", [1, 2, 1])
    before = bring("pa_tsv", source, tmp_path / "b.h5")[1]
    stamp = (tmp_path / "b.h5").stat().st_mtime_ns
    again = bring("pa_tsv", source, tmp_path / "b.h5")[1]
    assert (again.images, again.regions, again.repaired) == (before.images, before.regions, before.repaired)
    assert (tmp_path / "b.h5").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="b.h5: is there already, not made of this source"):
        bring("pa_tsv", pa(tmp_path / "q.tsv", [1]), tmp_path / "b.h5")
    with pytest.raises(InputError, match="is there already"):
        bring("pa_tsv", source, tmp_path / "b.h5", dtype="float16")


class StopError(Exception):
    """Stands for whatever stops a run."""


def stopping(monkeypatch, after: int) -> None:
    """Let the writer stop before its n-th shard."""
    original = passage.StoreWriter.write
    count = [0]

    def write_(self, images, errors=None):
        count[0] += 1
        if count[0] > after:
            raise StopError
        original(self, images, errors)

    monkeypatch.setattr(passage.StoreWriter, "write", write_)


@pytest.mark.parametrize("names", [list(range(9)), [COCO, *"abcdefgh"]])
@pytest.mark.parametrize("after", range(4))
def test_an_import_goes_on_and_counts_what_it_repaired_before(
    after: int, names, tmp_path, monkeypatch
) -> None:
    rows = [lxmert_row(name, sample(n % 2 + 1, n)) for n, name in enumerate(names)]
    for n in (1, 3, 5, 8):
        rows[n]["boxes"] = str(rows[n]["boxes"]).rstrip("=")
        rows[n]["attrs_conf"] = str(rows[n]["attrs_conf"]).rstrip("=")
    rows[4]["features"] = ""
    rows.insert(7, rows[2])
    source = table(tmp_path / "l.tsv", rows)
    whole, wanted = bring("lxmert_tsv", source, tmp_path / "whole.h5", shard_size=2)
    with monkeypatch.context() as patch:
        stopping(patch, after)
        with pytest.raises(StopError):
            bring("lxmert_tsv", source, tmp_path / "b.h5", shard_size=2)
    store, done = bring("lxmert_tsv", source, tmp_path / "b.h5", shard_size=2)
    assert store.image_ids == whole.image_ids
    assert all(same(store[i], whole[i]) for i in whole)
    assert (done.images, done.regions) == (wanted.images, wanted.regions)
    assert (done.repaired, done.dropped) == (wanted.repaired, wanted.dropped)
    assert sum(done.repaired.values()) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "b.h5",
        "b.import.json",
        "l.tsv",
        "whole.h5",
        "whole.import.json",
    ]


def test_images_that_are_there_are_not_even_decoded(tmp_path, monkeypatch) -> None:
    source = pa(tmp_path / "p.tsv", list(range(8)))
    with monkeypatch.context() as patch:
        stopping(patch, 3)
        with pytest.raises(StopError):
            bring("pa_tsv", source, tmp_path / "b.h5", shard_size=2)
    seen = []
    original = passage.sound
    monkeypatch.setattr(
        passage, "sound", lambda raw, image, rules: (seen.append(image), original(raw, image, rules))[1]
    )
    bring("pa_tsv", source, tmp_path / "b.h5", shard_size=2)
    assert seen == ["0", 6, 7]  # the first once more, for its width


def test_shards_of_another_source_are_not_gone_on_with(tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        stopping(patch, 1)
        with pytest.raises(StopError):
            bring("pa_tsv", pa(tmp_path / "p.tsv", [1, 2]), tmp_path / "b.h5", shard_size=1)
    with pytest.raises(InputError, match="b.h5.shards: begun with another source"):
        bring("pa_tsv", pa(tmp_path / "q.tsv", [1, 2]), tmp_path / "b.h5", shard_size=1)


IMPORTER = """
import sys
from pathlib import Path
from tests.helpers.foreign_formats import bring
print("ready", flush=True)
bring("pa_tsv", Path(sys.argv[1]), Path(sys.argv[2]), shard_size=10)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_ends_in_the_same_contents(tmp_path) -> None:
    source = table(tmp_path / "p.tsv", [pa_row(n, sample(20, n, width=600)) for n in range(120)])

    def start(out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", IMPORTER, str(source), str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        return process

    begun = time.monotonic()
    assert start(tmp_path / "whole.h5").wait() == 0
    took = time.monotonic() - begun
    whole = FeatureStore(tmp_path / "whole.h5")
    killed = 0
    for n in range(6):
        out = tmp_path / f"{n}.h5"
        for share in (0.02 + 0.06 * n, 0.15):
            process = start(out)
            time.sleep(took * share)
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        assert start(out).wait() == 0
        store = FeatureStore(out)
        assert store.image_ids == whole.image_ids
        assert store.about.sha256 == whole.about.sha256
        assert check_store(out) == []
        assert not list(tmp_path.glob(f"{n}.h5.*"))
    assert killed >= 6


def test_little_is_held_in_memory(tmp_path, monkeypatch) -> None:
    """A file of 30 MB is imported in shards of 1 MB, and exported, with less than 6 MB."""
    rows = (pa_row(n, sample(16, n, width=2048)) for n in range(180))
    with open(tmp_path / "p.tsv", "w") as file:
        for row in rows:
            file.write("\t".join(map(str, row.values())) + "\n")
    assert (tmp_path / "p.tsv").stat().st_size > 30_000_000
    monkeypatch.setattr(passage, "SHARD_BYTES", 2**20)
    tracemalloc.start()
    try:
        store, _ = bring("pa_tsv", tmp_path / "p.tsv", tmp_path / "b.h5")
        first = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        send("lxmert_tsv", tmp_path / "b.h5", tmp_path / "l.tsv")
        second = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(store) == 180
    assert max(first, second) < 6_000_000


def test_shards_are_bounded_in_bytes_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(passage, "SHARD_BYTES", 200)
    stopping(monkeypatch, 3)
    with pytest.raises(StopError):
        bring("pa_tsv", pa(tmp_path / "p.tsv", range(20)), tmp_path / "b.h5")
    lines = (tmp_path / "b.h5.shards" / "manifest-00.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["ids"]) for line in lines[1:]] == [3, 3, 3]


def test_images_without_a_column_of_the_first_are_left_out_and_more_columns_are_cut(tmp_path) -> None:
    some, none = sample(3, 1), sample(3, 2)
    bare = Regions(none.features, none.boxes, none.size)
    for folder, first, second in (("x", some, bare), ("y", bare, some)):
        for n, r in ((1, first), (2, second)):
            send("mil_npz", write(tmp_path / f"{folder}{n}.h5", {n: r}), tmp_path / f"{folder}{n}")
        (tmp_path / f"{folder}2" / "2.npz").rename(tmp_path / f"{folder}1" / "2.npz")
    store, done = bring("mil_npz", tmp_path / "x1", tmp_path / "b.h5")
    assert (store.image_ids, len(done.dropped)) == ([1], 1)
    assert "there is no attribute_id, attribute_score, class_id, class_score" in done.dropped["2.npz"]
    store, done = bring("mil_npz", tmp_path / "y1", tmp_path / "c.h5")
    assert (store.image_ids, list(done.repaired.values())) == ([1, 2], [1])


def test_other_floats_become_float32_and_are_counted(tmp_path) -> None:
    (tmp_path / "f").mkdir()
    r = sample(3)
    for n, kind in enumerate((np.float64, np.float16)):
        np.savez(
            tmp_path / "f" / f"{n}.npz",
            x=np.clip(r.features, -9, 9).astype(kind),
            bbox=r.boxes,
            image_h=37,
            image_w=53,
        )
    store, done = bring("mil_npz", tmp_path / "f", tmp_path / "b.h5")
    assert store[0].features.dtype == store[1].features.dtype == np.float32
    assert done.repaired == {
        "features were float64, made float32": 1,
        "features were float16, made float32": 1,
    }


def test_features_too_large_for_float16_are_refused(tmp_path) -> None:
    r = sample(2)
    big = Regions(np.full((2, 11), 1e6, np.float32), r.boxes, r.size)
    source = table(tmp_path / "p.tsv", [pa_row(1, big)])
    with pytest.raises(InputError, match="do not fit float16; give dtype=float32"):
        bring("pa_tsv", source, tmp_path / "b.h5", dtype="float16")


def test_nothing_of_torch_is_imported_for_foreign_formats() -> None:
    code = "import sys, bua.store.formats.import_store, bua.store.formats.export_store, bua.store.merge\n"
    code += "print('torch' in sys.modules, 'lmdb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
    assert len(FORMATS) >= 15
