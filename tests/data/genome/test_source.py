"""Reading the official files: element by element, and with one line for what is wrong in them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bua.data.genome.photographs import find_photographs, photograph_size
from bua.data.genome.source import Picture, objects_file, read_attributes, read_objects, read_pictures
from bua.errors import InputError
from bua.io.json_stream import elements

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(content=st.lists(JSON, max_size=6), chunk=st.integers(1, 40), indent=st.sampled_from([None, 2]))
def test_a_list_is_read_the_same_in_pieces_of_any_size(content, chunk, indent, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("s") / "l.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=bool(chunk % 2)), encoding="utf-8")
    assert list(elements(path, chunk)) == content


@given(content=st.lists(JSON, max_size=4), cut=st.integers(0, 30), chunk=st.integers(1, 20))
def test_a_list_that_is_cut_short_is_never_taken_for_a_whole_one(
    content, cut, chunk, tmp_path_factory
) -> None:
    path = tmp_path_factory.mktemp("s") / "l.json"
    text = json.dumps(content)
    path.write_text(text[: max(0, len(text) - 1 - cut)])
    with pytest.raises(InputError, match=r"l.json: not JSON: .* at character \d+ \(entry \d+ of the list\)"):
        list(elements(path, chunk))


BROKEN_LISTS = {
    "an object": ("{}", "a list was expected at character 0"),
    "empty": ("", "a list was expected"),
    "a second list": ("[1] [2]", "there is more after the end of the list"),
    "no comma": ("[1 2]", "a comma or the end of the list was expected at character 3"),
    "a comma too many": ("[1,]", "Expecting value"),
    "a word": ("[1, hello]", r"at character 4 \(entry 1 of the list\), there is 'hello\]'"),
    "no end": ('[{"a": 1}, {"b"', r"\(entry 1 of the list\), the file ends there"),
    "nested too deeply": ("[" * 100_000, "not JSON"),
}


@pytest.mark.parametrize("name", sorted(BROKEN_LISTS))
@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_a_broken_list_is_named_with_its_place(name: str, chunk: int, tmp_path) -> None:
    text, message = BROKEN_LISTS[name]
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(InputError, match=f"l.json: not JSON: .*{message}|nested too deeply"):
        list(elements(tmp_path / "l.json", max(chunk, len(text) // 50)))


def test_a_list_that_is_still_packed_or_not_text_is_named(tmp_path) -> None:
    (tmp_path / "l.json.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"l.json: there is no such file; unpack l.json.zip"):
        list(elements(tmp_path / "l.json"))
    (tmp_path / "l.json").write_bytes(b'["\xff"]')
    with pytest.raises(InputError, match=r"l.json: cannot be read as UTF-8"):
        list(elements(tmp_path / "l.json"))


IMAGE = {"image_id": 1, "width": 9, "height": 8, "url": "https://x/y/VG_100K/1.jpg", "coco_id": None}
OBJECT = {"object_id": 5, "names": ["dog", "animal"], "x": 1, "y": 2, "w": 3, "h": 4, "synsets": []}


def written(tmp_path, name: str, content) -> Path:
    (tmp_path / name).write_text(json.dumps(content))
    return tmp_path / name


def test_the_official_files_are_read(tmp_path) -> None:
    images = [IMAGE, IMAGE | {"image_id": 2, "coco_id": 77, "url": "https://x/VG_100K_2/2.jpg"}]
    pictures = read_pictures(written(tmp_path, "image_data.json", images))
    assert pictures == {
        1: Picture(1, "VG_100K/1.jpg", 9, 8, None),
        2: Picture(2, "VG_100K_2/2.jpg", 9, 8, 77),
    }
    graphs = [
        {"image_id": 2, "objects": [OBJECT], "relationships": [{}]},
        {"image_id": 1, "objects": [], "image_url": "x"},
    ]
    [(image_id, [thing]), second] = read_objects(written(tmp_path, "scene_graphs.json", graphs), pictures)
    assert (image_id, thing.object_id, thing.name, thing.box) == (2, 5, "dog", (1, 2, 3, 4))
    assert second == (1, [])
    said = [{"image_id": 2, "attributes": [OBJECT, OBJECT | {"object_id": 6, "attributes": ["red"]}]}]
    assert [*read_attributes(written(tmp_path, "attributes.json", said))] == [(2, 6, ["red"])]


def test_scene_graphs_come_before_objects(tmp_path) -> None:
    with pytest.raises(InputError, match=r"neither scene_graphs.json nor objects.json in it$"):
        objects_file(tmp_path)
    (tmp_path / "scene_graphs.json.zip").touch()
    with pytest.raises(InputError, match=r"in it; unpack scene_graphs.json.zip"):
        objects_file(tmp_path)
    (tmp_path / "objects.json").touch()
    assert objects_file(tmp_path).name == "objects.json"
    (tmp_path / "scene_graphs.json").touch()
    assert objects_file(tmp_path).name == "scene_graphs.json"


BROKEN_IMAGES = {
    "nothing": ([], "there are no images in it"),
    "a number": ([3], "entry 0 is 3: an object with a whole number image_id"),
    "version 1.0": ([{"id": 1}], "entry 0 is .*; files of version 1.2 or later have it"),
    "twice": ([IMAGE, IMAGE], "image 1 comes twice"),
    "no width": ([IMAGE | {"width": None}], "image 1: width is None, pixels are needed"),
    "no pixels": ([IMAGE | {"height": 0}], "image 1: height is 0, pixels are needed"),
    "no url": ([IMAGE | {"url": None}], "image 1: url is None, an address that ends in a file name"),
    "a folder": ([IMAGE | {"url": "https://x/"}], "image 1: url is 'https://x/', an address"),
    "a text": ([IMAGE | {"coco_id": "4"}], "image 1: coco_id is '4', a whole number or null"),
}


@pytest.mark.parametrize("name", sorted(BROKEN_IMAGES))
def test_broken_image_data_is_named(name: str, tmp_path) -> None:
    content, message = BROKEN_IMAGES[name]
    with pytest.raises(InputError, match=f"image_data.json: {message}"):
        read_pictures(written(tmp_path, "image_data.json", content))


BROKEN_GRAPHS = {
    "no list": ({"objects": None}, "image 1: objects is None, a list is needed"),
    "no id": ({"objects": [{"names": ["a"]}]}, "image 1: {'names'.* whole number object_id"),
    "no names": ({"objects": [OBJECT | {"names": []}]}, "image 1, object 5: names is .., a list of at least"),
    "a number": ({"objects": [OBJECT | {"names": [3]}]}, "image 1, object 5: names is .3., a list"),
    "a text": ({"objects": [OBJECT | {"w": "3"}]}, "object 5: x, y, w, h are .1, 2, '3', 4., numbers"),
    "no box": ({"objects": [{"object_id": 5, "names": ["a"]}]}, "object 5: x, y, w, h are .None"),
    "not a number": ({"objects": [OBJECT | {"x": float("nan")}]}, "object 5: x, y, w, h are .nan"),
    "unknown": ({"image_id": 9, "objects": []}, "image 9 is not in image_data.json"),
}


@pytest.mark.parametrize("name", sorted(BROKEN_GRAPHS))
def test_broken_scene_graphs_are_named(name: str, tmp_path) -> None:
    change, message = BROKEN_GRAPHS[name]
    path = written(tmp_path, "scene_graphs.json", [{"image_id": 1} | change])
    with pytest.raises(InputError, match=f"scene_graphs.json: .*{message}"):
        list(read_objects(path, {1: Picture(1, "a", 9, 9, None)}))


def test_an_image_with_two_scene_graphs_is_named(tmp_path) -> None:
    path = written(tmp_path, "objects.json", [{"image_id": 1, "objects": []}] * 2)
    with pytest.raises(InputError, match=r"objects.json: image 1 comes twice"):
        list(read_objects(path, {1: Picture(1, "a", 9, 9, None)}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"attributes": 3}, "image 1: attributes is 3, a list is needed"),
        ({"attributes": [3]}, "image 1: 3 is not an object with a whole number object_id"),
        ({"attributes": [{"object_id": 5, "attributes": "red"}]}, "object 5: attributes is 'red', a list"),
    ],
)
def test_broken_attributes_are_named(content, message, tmp_path) -> None:
    with pytest.raises(InputError, match=f"attributes.json: .*{message}"):
        list(read_attributes(written(tmp_path, "attributes.json", [{"image_id": 1} | content])))


def test_broken_files_are_listed() -> None:
    assert (len(BROKEN_LISTS), len(BROKEN_IMAGES), len(BROKEN_GRAPHS)) == (8, 9, 8)


def picture(image_id: int, folder: str = "VG_100K") -> Picture:
    return Picture(image_id, f"{folder}/{image_id}.jpg", 30, 20, None)


def save(path: Path, size=(30, 20), **more) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size).save(path, **more)


def test_photographs_are_found_in_both_folders_and_beside_them(tmp_path) -> None:
    save(tmp_path / "VG_100K" / "1.jpg")
    save(tmp_path / "VG_100K_2" / "2.jpg")
    save(tmp_path / "3.jpg")
    pictures = {n: picture(n) for n in range(1, 5)}
    found, problems = find_photographs(pictures, tmp_path)
    assert {n: p.file_name for n, p in found.items()} == {
        1: "VG_100K/1.jpg",
        2: "VG_100K_2/2.jpg",
        3: "3.jpg",
    }
    assert problems == ["image 4: there is no photograph 4.jpg"]


def test_the_folder_of_the_address_comes_first(tmp_path) -> None:
    for folder in ("VG_100K", "VG_100K_2", "images"):
        save(tmp_path / folder / "1.jpg")
    for folder in ("VG_100K", "VG_100K_2", "images"):
        found, _ = find_photographs({1: picture(1, folder)}, tmp_path)
        assert found[1].file_name == f"{folder}/1.jpg"


def test_sizes_are_those_of_the_photographs_after_rotation(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "1.jpg", size=(40, 10), exif=exif)
    assert photograph_size(tmp_path / "1.jpg") == (10, 40)
    found, _ = find_photographs({1: picture(1)}, tmp_path)
    assert found[1][2:4] == (10, 40)


def test_a_photograph_that_is_none_is_told_and_left_out(tmp_path) -> None:
    save(tmp_path / "1.jpg")
    (tmp_path / "2.jpg").write_text("<html>")
    found, [problem] = find_photographs({1: picture(1), 2: picture(2)}, tmp_path)
    assert [*found] == [1]
    assert "2.jpg is not a photograph" in problem


def test_a_folder_without_photographs_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        find_photographs({1: picture(1)}, tmp_path / "nowhere")
    with pytest.raises(InputError, match="none of the 1 photographs is in it, in VG_100K or in VG_100K_2"):
        find_photographs({1: picture(1)}, tmp_path)
