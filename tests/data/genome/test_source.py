"""Reading the official Visual Genome files and finding the photos, with one line for every mistake."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bua.data.genome.photos import find_genome_photos
from bua.data.genome.source import GenomeImage, find_objects_file, read_attributes, read_images, read_objects
from bua.errors import InputError
from bua.io.json_stream import elements
from bua.io.orientation import read_header
from tests.helpers.strategies import JSON


@given(content=st.lists(JSON, max_size=6), chunk=st.integers(1, 40), indent=st.sampled_from([None, 2]))
def test_a_list_is_read_the_same_in_chunks_of_any_size(content, chunk, indent, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("s") / "l.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=bool(chunk % 2)), encoding="utf-8")
    assert list(elements(path, chunk)) == content


@given(content=st.lists(JSON, max_size=4), cut=st.integers(0, 30), chunk=st.integers(1, 20))
def test_a_truncated_list_is_always_refused(content, cut, chunk, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("s") / "l.json"
    text = json.dumps(content)
    path.write_text(text[: max(0, len(text) - 1 - cut)])
    with pytest.raises(InputError, match=r"l.json: not valid JSON: .* at character \d+ \(element \d+ of the"):
        list(elements(path, chunk))


INVALID_LISTS = {
    "an object": ("{}", "expected a list at character 0"),
    "empty": ("", "expected a list"),
    "two lists": ("[1] [2]", "unexpected data after the end of the list"),
    "no comma": ("[1 2]", "expected a comma or the end of the list at character 3"),
    "trailing comma": ("[1,]", "Expecting value"),
    "unquoted word": ("[1, hello]", r"at character 4 \(element 1 of the list\), found 'hello\]'"),
    "truncated": ('[{"a": 1}, {"b"', r"\(element 1 of the list\), found the end of the file"),
    "nested too deeply": ("[" * 100_000, "not valid JSON"),
}


@pytest.mark.parametrize("name", sorted(INVALID_LISTS))
@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_an_invalid_list_is_named_with_the_position(name: str, chunk: int, tmp_path) -> None:
    text, message = INVALID_LISTS[name]
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(InputError, match=f"l.json: not valid JSON: .*{message}|nested too deeply"):
        list(elements(tmp_path / "l.json", max(chunk, len(text) // 50)))


def test_a_compressed_or_binary_list_is_named(tmp_path) -> None:
    (tmp_path / "l.json.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"l.json: file does not exist; unpack l.json.zip"):
        list(elements(tmp_path / "l.json"))
    (tmp_path / "l.json").write_bytes(b'["\xff"]')
    with pytest.raises(InputError, match=r"l.json: cannot be read as UTF-8"):
        list(elements(tmp_path / "l.json"))


IMAGE = {"image_id": 1, "width": 9, "height": 8, "url": "https://x/y/VG_100K/1.jpg", "coco_id": None}
OBJECT = {"object_id": 5, "names": ["dog", "animal"], "x": 1, "y": 2, "w": 3, "h": 4, "synsets": []}


def write(tmp_path, name: str, content) -> Path:
    (tmp_path / name).write_text(json.dumps(content))
    return tmp_path / name


def test_the_official_files_are_read(tmp_path) -> None:
    records = [IMAGE, IMAGE | {"image_id": 2, "coco_id": 77, "url": "https://x/VG_100K_2/2.jpg"}]
    images = read_images(write(tmp_path, "image_data.json", records))
    assert images == {
        1: GenomeImage(1, "VG_100K/1.jpg", 9, 8, None),
        2: GenomeImage(2, "VG_100K_2/2.jpg", 9, 8, 77),
    }
    graphs = [
        {"image_id": 2, "objects": [OBJECT], "relationships": [{}]},
        {"image_id": 1, "objects": [], "image_url": "x"},
    ]
    [(image_id, [first]), second] = read_objects(write(tmp_path, "scene_graphs.json", graphs), images)
    assert (image_id, first.object_id, first.name, first.box) == (2, 5, "dog", (1, 2, 3, 4))
    assert second == (1, [])
    attributes = [{"image_id": 2, "attributes": [OBJECT, OBJECT | {"object_id": 6, "attributes": ["red"]}]}]
    assert [*read_attributes(write(tmp_path, "attributes.json", attributes))] == [(2, 6, ["red"])]


def test_scene_graphs_are_preferred_to_objects(tmp_path) -> None:
    with pytest.raises(InputError, match=r"contains neither scene_graphs.json nor objects.json$"):
        find_objects_file(tmp_path)
    (tmp_path / "scene_graphs.json.zip").touch()
    with pytest.raises(InputError, match=r"objects.json; unpack scene_graphs.json.zip"):
        find_objects_file(tmp_path)
    (tmp_path / "objects.json").touch()
    assert find_objects_file(tmp_path).name == "objects.json"
    (tmp_path / "scene_graphs.json").touch()
    assert find_objects_file(tmp_path).name == "scene_graphs.json"


INVALID_IMAGES = {
    "empty": ([], "contains no images"),
    "a number": ([3], "entry 0 is 3, expected an object$"),
    "version 1.0": ([{"id": 1}], "entry 0 has no image_id; image_id is there since version 1.2"),
    "duplicate": ([IMAGE, IMAGE], "image 1 is duplicated"),
    "no width": ([IMAGE | {"width": None}], "image 1: width is None, expected an integer"),
    "no pixels": ([IMAGE | {"height": 0}], "image 1: height is 0, expected an integer >= 1"),
    "no url": ([IMAGE | {"url": None}], "image 1: url is None, expected a string"),
    "a folder": (
        [IMAGE | {"url": "https://x/"}],
        "image 1: url is 'https://x/', expected a file name at its end",
    ),
    "a string": ([IMAGE | {"coco_id": "4"}], "image 1: coco_id is '4', expected an integer or null"),
}


@pytest.mark.parametrize("name", sorted(INVALID_IMAGES))
def test_invalid_image_data_is_named(name: str, tmp_path) -> None:
    content, message = INVALID_IMAGES[name]
    with pytest.raises(InputError, match=f"image_data.json: {message}"):
        read_images(write(tmp_path, "image_data.json", content))


INVALID_GRAPHS = {
    "no list": ({"objects": None}, "image 1: objects is None, expected a list"),
    "no id": ({"objects": [{"names": ["a"]}]}, r"image 1: objects\[0\] has no object_id"),
    "no names": (
        {"objects": [OBJECT | {"names": []}]},
        r"image 1: objects\[0\].names is \[\], expected a list of length >= 1",
    ),
    "a number": (
        {"objects": [OBJECT | {"names": [3]}]},
        r"image 1: objects\[0\].names\[0\] is 3, expected a string",
    ),
    "a string": (
        {"objects": [OBJECT | {"w": "3"}]},
        r"objects\[0\].w is '3', expected a number",
    ),
    "no box": ({"objects": [{"object_id": 5, "names": ["a"]}]}, r"objects\[0\] has no x"),
    "not a number": (
        {"objects": [OBJECT | {"x": float("nan")}]},
        r"objects\[0\].x is nan, expected a number",
    ),
    "unknown": ({"image_id": 9, "objects": []}, "image 9 is not in image_data.json"),
}


@pytest.mark.parametrize("name", sorted(INVALID_GRAPHS))
def test_invalid_scene_graphs_are_named(name: str, tmp_path) -> None:
    change, message = INVALID_GRAPHS[name]
    path = write(tmp_path, "scene_graphs.json", [{"image_id": 1} | change])
    with pytest.raises(InputError, match=f"scene_graphs.json: .*{message}"):
        list(read_objects(path, {1: GenomeImage(1, "a", 9, 9, None)}))


def test_an_image_with_two_scene_graphs_is_named(tmp_path) -> None:
    path = write(tmp_path, "objects.json", [{"image_id": 1, "objects": []}] * 2)
    with pytest.raises(InputError, match=r"objects.json: image 1 is duplicated"):
        list(read_objects(path, {1: GenomeImage(1, "a", 9, 9, None)}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"attributes": 3}, "image 1: attributes is 3, expected a list"),
        ({"attributes": [3]}, r"image 1: attributes\[0\] is 3, expected an object"),
        (
            {"attributes": [{"object_id": 5, "attributes": "red"}]},
            r"attributes\[0\].attributes is 'red', expected a list",
        ),
    ],
)
def test_invalid_attributes_are_named(content, message, tmp_path) -> None:
    with pytest.raises(InputError, match=f"attributes.json: .*{message}"):
        list(read_attributes(write(tmp_path, "attributes.json", [{"image_id": 1} | content])))


def make_image(image_id: int, folder: str = "VG_100K") -> GenomeImage:
    return GenomeImage(image_id, f"{folder}/{image_id}.jpg", 30, 20, None)


def save(path: Path, size=(30, 20), **more) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size).save(path, **more)


def test_photos_are_found_in_both_folders_and_next_to_them(tmp_path) -> None:
    save(tmp_path / "VG_100K" / "1.jpg")
    save(tmp_path / "VG_100K_2" / "2.jpg")
    save(tmp_path / "3.jpg")
    images = {n: make_image(n) for n in range(1, 5)}
    found, problems = find_genome_photos(images, tmp_path)
    assert {n: image.file_name for n, image in found.items()} == {
        1: "VG_100K/1.jpg",
        2: "VG_100K_2/2.jpg",
        3: "3.jpg",
    }
    assert problems == ["image 4: photo 4.jpg does not exist"]


def test_the_folder_in_the_url_is_searched_first(tmp_path) -> None:
    for folder in ("VG_100K", "VG_100K_2", "images"):
        save(tmp_path / folder / "1.jpg")
    for folder in ("VG_100K", "VG_100K_2", "images"):
        found, _ = find_genome_photos({1: make_image(1, folder)}, tmp_path)
        assert found[1].file_name == f"{folder}/1.jpg"


def test_sizes_are_those_of_the_photos_after_rotation(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "1.jpg", size=(40, 10), exif=exif)
    assert read_header(tmp_path / "1.jpg").turned_size == (10, 40)
    found, _ = find_genome_photos({1: make_image(1)}, tmp_path)
    assert found[1][2:4] == (10, 40)


def test_an_unreadable_photo_is_reported_and_skipped(tmp_path) -> None:
    save(tmp_path / "1.jpg")
    (tmp_path / "2.jpg").write_text("<html>")
    found, [problem] = find_genome_photos({1: make_image(1), 2: make_image(2)}, tmp_path)
    assert [*found] == [1]
    assert "2.jpg: not a readable image" in problem


def test_a_folder_without_photos_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="nowhere: folder does not exist"):
        find_genome_photos({1: make_image(1)}, tmp_path / "nowhere")
    with pytest.raises(
        InputError, match="none of the 1 photos, neither directly nor in VG_100K or VG_100K_2"
    ):
        find_genome_photos({1: make_image(1)}, tmp_path)
