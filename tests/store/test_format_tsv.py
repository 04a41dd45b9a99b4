"""Anderson's and LXMERT's TSV as their authors' code writes them, and errors in such files."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.errors import InputError
from bua.store.formats.source import InvalidImageError
from bua.store.formats.tsv import MISSING_PADDING, decode_array, parse_int
from tests.helpers.foreign_formats import (
    export_file,
    identical,
    import_file,
    sample_regions,
    to_base64,
    write_store,
)
from tests.helpers.tsv_rows import lxmert_row, pa_row, write_table

PA = ["image_id", "image_w", "image_h", "num_boxes", "boxes", "features"]
LXMERT = ["img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes"]
LXMERT += ["boxes", "features"]
ONE, TWO, THREE = (sample_regions(n + 2, n) for n in range(3))


def test_height_comes_before_width_in_lxmert_and_after_it_in_andersons_format(tmp_path) -> None:
    wide = sample_regions(3, size=(100, 700))
    pa = write_table(tmp_path / "p.tsv", [pa_row(1, wide)])
    lxmert = write_table(tmp_path / "l.tsv", [lxmert_row(1, wide)])
    assert (list(pa_row(1, wide)), list(lxmert_row(1, wide))) == (PA, LXMERT)
    assert import_file("pa_tsv", pa, tmp_path / "p.h5")[0][1].size == (100, 700)
    found = import_file("lxmert_tsv", lxmert, tmp_path / "l.h5")[0][1]
    assert found.size == (100, 700)
    assert identical(found, wide)


def test_exported_files_are_as_the_authors_readers_expect(tmp_path) -> None:
    store = write_store(tmp_path / "a.h5", {7: ONE, 8: TWO})
    export_file("pa_tsv", store, tmp_path / "p.tsv")
    export_file("lxmert_tsv", store, tmp_path / "l.tsv")
    csv.field_size_limit(2**30)
    for name, fields, make_row in (("p.tsv", PA, pa_row), ("l.tsv", LXMERT, lxmert_row)):
        with open(tmp_path / name, newline="") as file:
            rows = list(csv.DictReader(file, fields, delimiter="\t"))
        expected = [{k: str(v) for k, v in make_row(i, r).items()} for i, r in ((7, ONE), (8, TWO))]
        assert rows == expected


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [True, False])
def test_line_ends_and_a_header_do_not_matter(end: str, header: bool, tmp_path) -> None:
    for name, row in (("pa_tsv", pa_row), ("lxmert_tsv", lxmert_row)):
        path = write_table(tmp_path / f"{name}.tsv", [row(1, ONE), row(2, TWO)], header, end)
        path.write_text(path.read_text() + end)
        store, result = import_file(name, path, tmp_path / f"{name}.h5")
        assert (store.image_ids, result.dropped) == ([1, 2], {})


def test_several_files_of_a_folder_are_read_as_one(tmp_path) -> None:
    (tmp_path / "t").mkdir()
    write_table(tmp_path / "t" / "train.tsv.0", [pa_row(1, ONE)])
    write_table(tmp_path / "t" / "train.tsv.1", [pa_row(2, TWO)])
    (tmp_path / "t" / "readme.txt").write_text("x")
    assert import_file("pa_tsv", tmp_path / "t", tmp_path / "b.h5")[0].image_ids == [1, 2]


def test_fields_beyond_the_limit_of_csv_are_read(tmp_path) -> None:
    large = sample_regions(100, width=2048)
    path = write_table(tmp_path / "p.tsv", [pa_row(1, large)])
    assert len(path.read_text()) > 1_000_000
    assert identical(import_file("pa_tsv", path, tmp_path / "b.h5")[0][1], large, ())


def broken(how: str, row: dict[str, object]) -> str:
    """Break a row and return a pattern for the reason."""
    text = str(row["features"])
    if how == "short":
        row["features"] = text[: len(text) // 2 // 4 * 4]
        return r"features must have a multiple of \d+ bytes|feature size must be 11"
    if how == "not base64":
        row["features"] = text[:40] + "!*#%" + text[44:]
        return "features contains characters that are not base64"
    if how == "padding in the middle":
        row["features"] = text[:40] + "==" + text[42:]
        return "features"
    if how == "boxes missing":
        row["boxes"] = ""
        return "boxes must have 48 bytes for 3 regions, got 0 bytes"
    if how == "too many boxes":
        row["boxes"] = to_base64(np.zeros((9, 4)))
        return r"boxes must have 48 bytes for 3 regions, got 144 bytes"
    if how == "no regions":
        row["num_boxes"] = 0
        return "num_boxes must be between 1 and 1,048,575, got 0"
    if how == "count is a word":
        row["num_boxes"] = "many"
        return "num_boxes must be an integer, got b'many'"
    if how == "a size of zero":
        row["image_h"] = 0
        return "height and width must be at least 1, got 0 x 53"
    if how == "NaN":
        row["features"] = to_base64(np.full((3, 11), np.nan))
        return "the features of region 0 are not all finite"
    if how == "NaN box":
        row["boxes"] = to_base64(np.full((3, 4), np.inf))
        return "boxes are not all finite"
    if how == "backwards":
        row["boxes"] = to_base64(np.array([[9, 9, 3, 3]] * 3))
        return "box 0 has a negative width or height"
    if how == "far outside":
        row["boxes"] = to_base64(np.array([[900, 900, 950, 950]] * 3))
        return "a box is outside the image of 53 x 37 pixels"
    assert how == "another width"
    row["features"] = to_base64(np.zeros((3, 12)))
    return "feature size must be 11 as in the first image, got 12"


HOW = ["short", "not base64", "padding in the middle", "boxes missing", "too many boxes", "no regions"]
HOW += ["count is a word", "a size of zero", "NaN", "NaN box", "backwards", "far outside", "another width"]


@pytest.mark.parametrize("how", HOW)
def test_a_broken_row_is_dropped_with_its_line_and_reason(how: str, tmp_path) -> None:
    row = pa_row(2, TWO)
    reason = broken(how, row)
    path = write_table(tmp_path / "p.tsv", [pa_row(1, ONE), row, pa_row(3, THREE)])
    store, result = import_file("pa_tsv", path, tmp_path / "b.h5")
    assert store.image_ids == [1, 3]
    assert list(result.dropped) == ["p.tsv line 2"]
    with pytest.raises(InvalidImageError, match=reason):
        raise InvalidImageError(result.dropped["p.tsv line 2"])


def test_ways_to_break_a_row_are_listed() -> None:
    assert len(HOW) == 13


def test_a_row_with_missing_fields_is_dropped(tmp_path) -> None:
    path = write_table(tmp_path / "p.tsv", [pa_row(1, ONE), pa_row(2, TWO)])
    path.write_text(path.read_text() + "3\t50\n")
    assert import_file("pa_tsv", path, tmp_path / "b.h5")[1].dropped == {
        "p.tsv line 3": "row must have 6 fields, got 2"
    }
    path = write_table(tmp_path / "l.tsv", [lxmert_row(1, ONE)])
    path.write_text(path.read_text() + "3\t50\n")
    assert import_file("lxmert_tsv", path, tmp_path / "l.h5")[1].dropped == {
        "l.tsv line 2": "row must have 10 fields, got 2"
    }


@settings(max_examples=40, deadline=None)
@given(fraction=st.floats(0.01, 0.99))
def test_a_last_row_truncated_by_a_kill_is_dropped(fraction, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("t")
    path = write_table(folder / "p.tsv", [pa_row(1, ONE), pa_row(2, THREE)], end="\n")
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    path.write_bytes(content[: start + 1 + int(fraction * (len(content) - start - 3))])
    store, result = import_file("pa_tsv", path, folder / "b.h5")
    assert store.image_ids == [1]
    assert list(result.dropped) == ["p.tsv line 2"]


def test_base64_without_padding_is_read_and_counted(tmp_path) -> None:
    rows = [lxmert_row(n, sample_regions(n, n)) for n in (1, 2, 3)]
    stripped = [{k: v.rstrip("=") if isinstance(v, str) else v for k, v in row.items()} for row in rows]
    assert sum(a != b for a, b in zip(rows, stripped, strict=True)) == 2
    store, result = import_file("lxmert_tsv", write_table(tmp_path / "l.tsv", stripped), tmp_path / "b.h5")
    assert result.repaired == {MISSING_PADDING: 2}
    assert all(identical(store[n], sample_regions(n, n)) for n in (1, 2, 3))


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 9), padding=st.booleans())
def test_decoding_is_the_inverse_of_encoding(count, padding) -> None:
    values = np.random.default_rng(count).standard_normal(count).astype("<f4")
    text = to_base64(values).encode()
    repaired: list[str] = []
    found = decode_array(text if padding else text.rstrip(b"="), "<f4", (count,), "x", repaired)
    assert found.tobytes() == values.tobytes()
    assert bool(repaired) == (not padding and text.endswith(b"="))


@settings(max_examples=200, deadline=None)
@given(text=st.binary(max_size=40), count=st.integers(1, 4))
def test_noise_is_refused_or_has_the_right_length(text, count) -> None:
    try:
        found = decode_array(text, "<f4", (count, 2), "x", [])
    except InvalidImageError:
        return
    assert found.shape == (count, 2)


def test_integers_may_be_written_as_floats() -> None:
    assert parse_int(b"640.0", "w") == 640
    for bad in (b"", b"x", b"1.5", b"inf", b"nan", b"1e999"):
        with pytest.raises(InvalidImageError, match="w must be an integer, got b"):
            parse_int(bad, "w")


def test_boxes_in_fractions_are_converted_to_pixels_and_counted(tmp_path) -> None:
    one = sample_regions(3, 1)
    fractions = one.boxes / np.array([53, 37, 53, 37], np.float32)
    row = {**pa_row(1, one), "boxes": to_base64(fractions)}
    store, result = import_file("pa_tsv", write_table(tmp_path / "p.tsv", [row]), tmp_path / "b.h5")
    assert result.repaired == {"boxes converted from fractions to pixels": 1}
    assert np.allclose(store[1].boxes, one.boxes, atol=1e-4)


def test_boxes_beyond_the_image_are_clipped_and_counted(tmp_path) -> None:
    one = sample_regions(2, 1)
    boxes = np.array([[-9, 3, 20, 60], [1, 1, 53.5, 37.9]], np.float32)
    row = {**pa_row(1, one), "boxes": to_base64(boxes)}
    store, result = import_file("pa_tsv", write_table(tmp_path / "p.tsv", [row]), tmp_path / "b.h5")
    assert result.repaired == {"boxes clipped to the image": 1}
    assert store[1].boxes.tolist() == [[0, 3, 20, 37], [1, 1, 53, 37]]
    within = {**pa_row(1, one), "boxes": to_base64(np.array([[-0.5, 0, 53.9, 38], [1, 1, 5, 5]]))}
    store, result = import_file("pa_tsv", write_table(tmp_path / "q.tsv", [within]), tmp_path / "c.h5")
    assert result.repaired == {}
    assert store[1].boxes[0].tolist() == [-0.5, 0, np.float32(53.9), 38]


def test_scores_beyond_one_by_rounding_are_clipped_and_others_are_refused(tmp_path) -> None:
    near = {**lxmert_row(1, ONE), "objects_conf": to_base64([1.00001, 0.5])}
    far = {**lxmert_row(2, ONE), "objects_conf": to_base64([1.2, 0.5])}
    store, result = import_file("lxmert_tsv", write_table(tmp_path / "l.tsv", [near, far]), tmp_path / "b.h5")
    assert store[1].class_score.tolist() == [1, 0.5]
    assert result.repaired == {"class_score clipped to 0 and 1 after rounding errors": 1}
    assert result.dropped == {"l.tsv line 2": "class_score is not between 0 and 1"}


def test_class_ids_beyond_the_names_are_refused(tmp_path) -> None:
    rows = [lxmert_row(1, ONE), {**lxmert_row(2, ONE), "objects_id": to_base64([3, 0], "<i8")}]
    result = import_file("lxmert_tsv", write_table(tmp_path / "l.tsv", rows), tmp_path / "b.h5")[1]
    assert result.dropped == {"l.tsv line 2": "class_id 3 is not among the 3 names"}
    without = {"class_names": (), "attribute_names": ()}
    assert import_file("lxmert_tsv", tmp_path / "l.tsv", tmp_path / "c.h5", source=without)[1].dropped == {}


def test_a_file_of_one_endless_line_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("bua.store.formats.tsv._MAX_LINE_BYTES", 1000)
    (tmp_path / "p.tsv").write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match="line 1 has more than 1,000 bytes"):
        import_file("pa_tsv", tmp_path / "p.tsv", tmp_path / "b.h5")
