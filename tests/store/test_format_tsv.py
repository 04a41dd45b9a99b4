"""Anderson's and LXMERT's TSV, as their authors' code writes them, and what goes wrong in them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.store import Regions
from bua.store.formats.item import InvalidImageError
from bua.store.formats.tsv import PADDING, decoded, whole
from tests.helpers.foreign_formats import b64, bring, same, sample, send, write

PA = ["image_id", "image_w", "image_h", "num_boxes", "boxes", "features"]
LXMERT = ["img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes"]
LXMERT += ["boxes", "features"]
ONE, TWO, THREE = (sample(n + 2, n) for n in range(3))


def pa_row(image: object, r: Regions) -> dict[str, object]:
    return {
        "image_id": image,
        "image_w": r.size[1],
        "image_h": r.size[0],
        "num_boxes": len(r),
        "boxes": b64(r.boxes),
        "features": b64(r.features),
    }


def lxmert_row(image: object, r: Regions) -> dict[str, object]:
    return {
        "img_id": image,
        "img_h": r.size[0],
        "img_w": r.size[1],
        "objects_id": b64(r.class_id, "<i8"),
        "objects_conf": b64(r.class_score),
        "attrs_id": b64(r.attribute_id, "<i8"),
        "attrs_conf": b64(r.attribute_score),
        "num_boxes": len(r),
        "boxes": b64(r.boxes),
        "features": b64(r.features),
    }


def table(path: Path, rows: list[dict[str, object]], header: bool = False, end: str = "\r\n") -> Path:
    """Write rows as csv.DictWriter does, which the authors' code uses."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator=end)
        if header:
            writer.writeheader()
        writer.writerows(rows)
    return path


def test_height_stands_before_width_in_lxmert_and_behind_it_in_andersons(tmp_path) -> None:
    wide = sample(3, size=(100, 700))
    pa = table(tmp_path / "p.tsv", [pa_row(1, wide)])
    lxmert = table(tmp_path / "l.tsv", [lxmert_row(1, wide)])
    assert (list(pa_row(1, wide)), list(lxmert_row(1, wide))) == (PA, LXMERT)
    assert bring("pa_tsv", pa, tmp_path / "p.h5")[0][1].size == (100, 700)
    found = bring("lxmert_tsv", lxmert, tmp_path / "l.h5")[0][1]
    assert found.size == (100, 700)
    assert same(found, wide)


def test_what_is_written_is_what_the_authors_readers_expect(tmp_path) -> None:
    store = write(tmp_path / "a.h5", {7: ONE, 8: TWO})
    send("pa_tsv", store, tmp_path / "p.tsv")
    send("lxmert_tsv", store, tmp_path / "l.tsv")
    csv.field_size_limit(2**30)
    for name, fields, expected in (("p.tsv", PA, pa_row), ("l.tsv", LXMERT, lxmert_row)):
        with open(tmp_path / name, newline="") as file:
            rows = list(csv.DictReader(file, fields, delimiter="\t"))
        wanted = [{k: str(v) for k, v in expected(i, r).items()} for i, r in ((7, ONE), (8, TWO))]
        assert rows == wanted


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [True, False])
def test_line_ends_and_a_line_of_names_do_not_matter(end: str, header: bool, tmp_path) -> None:
    for name, row in (("pa_tsv", pa_row), ("lxmert_tsv", lxmert_row)):
        path = table(tmp_path / f"{name}.tsv", [row(1, ONE), row(2, TWO)], header, end)
        path.write_text(path.read_text() + end)
        store, done = bring(name, path, tmp_path / f"{name}.h5")
        assert (store.image_ids, done.dropped) == ([1, 2], {})


def test_several_files_of_a_folder_are_read_as_one(tmp_path) -> None:
    (tmp_path / "t").mkdir()
    table(tmp_path / "t" / "train.tsv.0", [pa_row(1, ONE)])
    table(tmp_path / "t" / "train.tsv.1", [pa_row(2, TWO)])
    (tmp_path / "t" / "readme.txt").write_text("x")
    assert bring("pa_tsv", tmp_path / "t", tmp_path / "b.h5")[0].image_ids == [1, 2]


def test_fields_beyond_the_limit_of_csv_are_read(tmp_path) -> None:
    large = sample(100, width=2048)
    path = table(tmp_path / "p.tsv", [pa_row(1, large)])
    assert len(path.read_text()) > 1_000_000
    assert same(bring("pa_tsv", path, tmp_path / "b.h5")[0][1], large, ())


def broken(how: str, row: dict[str, object]) -> str:
    """Break a row and return the reason that must be given."""
    text = str(row["features"])
    if how == "short":
        row["features"] = text[: len(text) // 2 // 4 * 4]
        return r"features has \d+ bytes, a multiple of \d+ are needed|features are \d+ wide"
    if how == "not base64":
        row["features"] = text[:40] + "!*#%" + text[44:]
        return "features holds characters that are not base64"
    if how == "padding in the middle":
        row["features"] = text[:40] + "==" + text[42:]
        return "features"
    if how == "boxes missing":
        row["boxes"] = ""
        return "boxes has 0 bytes"
    if how == "too many boxes":
        row["boxes"] = b64(np.zeros((9, 4)))
        return r"boxes has 144 bytes, 48 are needed for 3 regions"
    if how == "no regions":
        row["num_boxes"] = 0
        return "num_boxes is 0"
    if how == "count is a word":
        row["num_boxes"] = "many"
        return "num_boxes is b'many', a whole number is needed"
    if how == "a size of zero":
        row["image_h"] = 0
        return "its size is 0 x 53"
    if how == "NaN":
        row["features"] = b64(np.full((3, 11), np.nan))
        return "the features of region 0 are not all finite"
    if how == "NaN box":
        row["boxes"] = b64(np.full((3, 4), np.inf))
        return "boxes are not all finite"
    if how == "backwards":
        row["boxes"] = b64(np.array([[9, 9, 3, 3]] * 3))
        return "box 0 ends before it begins"
    if how == "far outside":
        row["boxes"] = b64(np.array([[900, 900, 950, 950]] * 3))
        return "a box lies outside of the image of 53 x 37"
    assert how == "another width"
    row["features"] = b64(np.zeros((3, 12)))
    return "features are 12 wide, those of the first image 11"


HOW = ["short", "not base64", "padding in the middle", "boxes missing", "too many boxes", "no regions"]
HOW += ["count is a word", "a size of zero", "NaN", "NaN box", "backwards", "far outside", "another width"]


@pytest.mark.parametrize("how", HOW)
def test_a_broken_row_is_left_out_with_its_line_and_reason(how: str, tmp_path) -> None:
    row = pa_row(2, TWO)
    reason = broken(how, row)
    path = table(tmp_path / "p.tsv", [pa_row(1, ONE), row, pa_row(3, THREE)])
    store, done = bring("pa_tsv", path, tmp_path / "b.h5")
    assert store.image_ids == [1, 3]
    assert list(done.dropped) == ["p.tsv line 2"]
    with pytest.raises(InvalidImageError, match=reason):
        raise InvalidImageError(done.dropped["p.tsv line 2"])


def test_ways_to_break_a_row_are_listed() -> None:
    assert len(HOW) == 13


def test_a_row_with_fields_missing_is_left_out(tmp_path) -> None:
    path = table(tmp_path / "p.tsv", [pa_row(1, ONE), pa_row(2, TWO)])
    path.write_text(path.read_text() + "3\t50\n")
    assert bring("pa_tsv", path, tmp_path / "b.h5")[1].dropped == {"p.tsv line 3": "2 fields, 6 are needed"}
    path = table(tmp_path / "l.tsv", [lxmert_row(1, ONE)])
    path.write_text(path.read_text() + "3\t50\n")
    assert bring("lxmert_tsv", path, tmp_path / "l.h5")[1].dropped == {
        "l.tsv line 2": "2 fields, 10 are needed"
    }


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0.01, 0.99))
def test_a_last_row_cut_short_by_a_kill_is_left_out(share, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("t")
    path = table(folder / "p.tsv", [pa_row(1, ONE), pa_row(2, THREE)], end="\n")
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    path.write_bytes(content[: start + 1 + int(share * (len(content) - start - 3))])
    store, done = bring("pa_tsv", path, folder / "b.h5")
    assert store.image_ids == [1]
    assert list(done.dropped) == ["p.tsv line 2"]


def test_base64_without_its_padding_is_read_and_counted(tmp_path) -> None:
    rows = [lxmert_row(n, sample(n, n)) for n in (1, 2, 3)]
    stripped = [{k: v.rstrip("=") if isinstance(v, str) else v for k, v in row.items()} for row in rows]
    assert sum(a != b for a, b in zip(rows, stripped, strict=True)) == 2
    store, done = bring("lxmert_tsv", table(tmp_path / "l.tsv", stripped), tmp_path / "b.h5")
    assert done.repaired == {PADDING: 2}
    assert all(same(store[n], sample(n, n)) for n in (1, 2, 3))


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 9), padding=st.booleans())
def test_decoding_is_the_inverse_of_encoding(count, padding) -> None:
    values = np.random.default_rng(count).standard_normal(count).astype("<f4")
    text = b64(values).encode()
    repaired: list[str] = []
    found = decoded(text if padding else text.rstrip(b"="), "<f4", (count,), "x", repaired)
    assert found.tobytes() == values.tobytes()
    assert bool(repaired) == (not padding and text.endswith(b"="))


@settings(max_examples=200, deadline=None)
@given(text=st.binary(max_size=40), count=st.integers(1, 4))
def test_noise_is_refused_or_has_the_right_length(text, count) -> None:
    try:
        found = decoded(text, "<f4", (count, 2), "x", [])
    except InvalidImageError:
        return
    assert found.shape == (count, 2)


def test_whole_numbers_may_be_written_as_floats() -> None:
    assert whole(b"640.0", "w") == 640
    for bad in (b"", b"x", b"1.5", b"inf", b"nan", b"1e999"):
        with pytest.raises(InvalidImageError, match="w is b"):
            whole(bad, "w")


def test_boxes_that_are_fractions_are_made_pixels_and_counted(tmp_path) -> None:
    one = sample(3, 1)
    fractions = one.boxes / np.array([53, 37, 53, 37], np.float32)
    row = {**pa_row(1, one), "boxes": b64(fractions)}
    store, done = bring("pa_tsv", table(tmp_path / "p.tsv", [row]), tmp_path / "b.h5")
    assert done.repaired == {"boxes were fractions of the image, made pixels": 1}
    assert np.allclose(store[1].boxes, one.boxes, atol=1e-4)


def test_boxes_that_leave_the_image_are_cut_to_it_and_counted(tmp_path) -> None:
    one = sample(2, 1)
    boxes = np.array([[-9, 3, 20, 60], [1, 1, 53.5, 37.9]], np.float32)
    row = {**pa_row(1, one), "boxes": b64(boxes)}
    store, done = bring("pa_tsv", table(tmp_path / "p.tsv", [row]), tmp_path / "b.h5")
    assert done.repaired == {"boxes left the image, cut to it": 1}
    assert store[1].boxes.tolist() == [[0, 3, 20, 37], [1, 1, 53, 37]]
    within = {**pa_row(1, one), "boxes": b64(np.array([[-0.5, 0, 53.9, 38], [1, 1, 5, 5]]))}
    store, done = bring("pa_tsv", table(tmp_path / "q.tsv", [within]), tmp_path / "c.h5")
    assert done.repaired == {}
    assert store[1].boxes[0].tolist() == [-0.5, 0, np.float32(53.9), 38]


def test_scores_beyond_one_by_rounding_are_cut_and_others_are_refused(tmp_path) -> None:
    near = {**lxmert_row(1, ONE), "objects_conf": b64([1.00001, 0.5])}
    far = {**lxmert_row(2, ONE), "objects_conf": b64([1.2, 0.5])}
    store, done = bring("lxmert_tsv", table(tmp_path / "l.tsv", [near, far]), tmp_path / "b.h5")
    assert store[1].class_score.tolist() == [1, 0.5]
    assert done.repaired == {"class_score was beyond 0 and 1 by rounding, cut to it": 1}
    assert done.dropped == {"l.tsv line 2": "class_score is not within 0 and 1"}


def test_class_ids_beyond_the_names_are_refused(tmp_path) -> None:
    rows = [lxmert_row(1, ONE), {**lxmert_row(2, ONE), "objects_id": b64([3, 0], "<i8")}]
    done = bring("lxmert_tsv", table(tmp_path / "l.tsv", rows), tmp_path / "b.h5")[1]
    assert done.dropped == {"l.tsv line 2": "class_id 3 is not among the 3 names"}
    without = {"class_names": (), "attribute_names": ()}
    assert bring("lxmert_tsv", tmp_path / "l.tsv", tmp_path / "c.h5", source=without)[1].dropped == {}


def test_a_file_of_one_endless_line_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("bua.store.formats.tsv._LONGEST", 1000)
    (tmp_path / "p.tsv").write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match="line 1 has more than 1,000 bytes"):
        bring("pa_tsv", tmp_path / "p.tsv", tmp_path / "b.h5")
