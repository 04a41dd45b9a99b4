"""Sizes of imported images come from the file, from image files or from lists, and are never guessed."""

import json

import pytest
from PIL import Image

from bua.errors import InputError
from bua.store.formats.image_sizes import ImageSizes
from bua.store.formats.source import InvalidImageError
from tests.helpers.foreign_formats import export_file, import_file, sample_regions, write_sizes, write_store
from tests.helpers.tsv_rows import pa_row, write_table

COCO = "COCO_val2014_000000000042"


def test_given_sizes_take_precedence_over_those_of_the_file(tmp_path) -> None:
    source = write_table(tmp_path / "p.tsv", [{**pa_row(7, sample_regions(2)), "image_h": 53}])
    sizes = write_sizes(tmp_path / "s.json", {7: sample_regions(2)})
    assert import_file("pa_tsv", source, tmp_path / "b.h5", images=sizes)[0][7].size == (37, 53)


def test_an_image_of_unknown_size_is_dropped(tmp_path) -> None:
    export_file(
        "cocobu", write_store(tmp_path / "a.h5", {1: sample_regions(2), 2: sample_regions(2)}), tmp_path / "c"
    )
    sizes = write_sizes(tmp_path / "s.json", {1: sample_regions(2)})
    result = import_file("cocobu", tmp_path / "c", tmp_path / "b.h5", images=sizes)[1]
    assert result.dropped == {"c_att/2.npz": "image size is missing, also in images="}


def test_sizes_come_from_image_files_after_exif_rotation(tmp_path) -> None:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    image = Image.new("RGB", (30, 20))
    image.save(tmp_path / "photos" / "COCO_val2014_000000000042.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "photos" / "sub" / "b.jpg", exif=exif)
    (tmp_path / "photos" / "notes.txt").write_text("x")
    sizes = ImageSizes(tmp_path / "photos")
    assert sizes.find(42) == (20, 30)
    assert sizes.find(COCO) == (20, 30)
    assert sizes.find("sub/b.jpg") == sizes.find("sub/b") == sizes.find("b") == (30, 20)
    assert sizes.find(7) is None
    (tmp_path / "photos" / "sub" / "b.jpg").write_bytes(b"noise")
    with pytest.raises(InvalidImageError, match=r"its image cannot be read: .*b.jpg: not a readable image"):
        sizes.find("b")


def test_sizes_come_from_coco_and_vinvl_files(tmp_path) -> None:
    records = [{"id": 42, "file_name": "val/a.jpg", "height": 2, "width": 3}]
    (tmp_path / "c.json").write_text(json.dumps({"images": records}))
    sizes = ImageSizes(tmp_path / "c.json")
    assert sizes.find(42) == sizes.find("val/a.jpg") == sizes.find("a") == (2, 3)
    (tmp_path / "x.hw.tsv").write_text(
        '000000000042\t[{"height": 2, "width": 3}]\nb\t{"height": 4, "width": 5}\n'
    )
    sizes = ImageSizes(tmp_path / "x.hw.tsv")
    assert (sizes.find(42), sizes.find("b")) == ((2, 3), (4, 5))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.json", "{}", 'must be a JSON object with a list "images"'),
        ("s.json", '{"images": []}', "has no images"),
        ("s.json", '{"images": [{"id": 1, "height": 3}]}', "has no width"),
        ("s.hw.tsv", "1\n", "line 1 must be a key and"),
        ("s.hw.tsv", '1\t[{"height": 3}]\n', "line 1 must be a key and"),
        ("s.txt", "x", "not valid JSON"),
    ],
)
def test_files_without_sizes_are_refused(name, content, message, tmp_path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        ImageSizes(tmp_path / name)
