"""``images=`` takes files, folders, lists and patterns; what exists is never read as a pattern."""

import json
from pathlib import Path

import pytest

from bua.cli.text import quote_words
from bua.detectors.photo_files import find_photos
from bua.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory, with images in it and in two folders."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.png", "one/c.jpg", "one/deep/d.jpg", "one/notes.md", "two/c.jpg", "two/.e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def found(source) -> dict[str, str]:
    """Return the paths of images by their ids."""
    return {photo.image_id: str(photo.path) for photo in find_photos(source)}


@pytest.mark.parametrize("name", ["a,b.jpg", "[1].jpg", "*.jpg", "x y.jpg", "a?.jpg", "[a,b]", "**"])
def test_an_existing_file_is_that_file_whatever_its_name(name: str, folder) -> None:
    (folder / name).touch()
    assert found(name) == {name: name}
    assert found([name, "a.jpg"]) == {name: name, "a.jpg": "a.jpg"}


def test_a_text_that_does_not_exist_is_split_at_commas(folder) -> None:
    assert found("a.jpg, b.png") == {"a.jpg": "a.jpg", "b.png": "b.png"}
    assert found(["a.jpg", "b.png"]) == found("a.jpg,b.png")
    with pytest.raises(InputError, match=r"^c\.jpg: file or folder does not exist"):
        find_photos("a.jpg,c.jpg")


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("*.jpg", {"a.jpg"}),
        ("one/*", {"c.jpg"}),
        ("one/**/*.jpg", {"c.jpg", "deep/d.jpg"}),
        ("*/c.jpg", {"one/c.jpg", "two/c.jpg"}),
        ("[ab].*", {"a.jpg", "b.png"}),
        ("two/*", {"c.jpg"}),
    ],
)
def test_a_pattern_stands_for_its_images_with_names_from_its_first_wildcard_on(pattern, ids, folder) -> None:
    assert set(found(pattern)) == ids


def test_the_ids_of_several_sources_are_relative_to_the_folder_they_have_in_common(folder) -> None:
    assert set(found(["one", "two"])) == {"one/c.jpg", "one/deep/d.jpg", "two/c.jpg"}
    assert set(found(["one/c.jpg", "two/c.jpg"])) == {"one/c.jpg", "two/c.jpg"}
    assert set(found(["one"])) == set(found("one")) == {"c.jpg", "deep/d.jpg"}
    assert set(found([str(folder / "one"), "two/*.jpg"])) == set(found(["one", "two"]))


def test_lists_are_read_among_several_sources(folder) -> None:
    (folder / "more.txt").write_text("two/c.jpg\n")
    assert set(found(["more.txt", "a.jpg"])) == {"two/c.jpg", "a.jpg"}
    (folder / "n.json").write_text(json.dumps({"images": [{"id": 3, "file_name": "b.png"}]}))
    assert found("n.json") == {3: "b.png"}
    with pytest.raises(InputError, match=r"n.json, a.jpg: image ids must be all integers or all texts"):
        find_photos(["n.json", "a.jpg"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("*.gif", r"^\*\.gif: pattern matches no images"),
        ("one/*.md", r"^one/\*\.md: pattern matches no images"),
        ("", "^: file or folder does not exist"),
        ([], "^no images are given"),
        (["a.jpg", "./a.jpg"], "^a.jpg, ./a.jpg: image 'a.jpg' is duplicated"),
        ("a" * 300 + ".jpg", "file or folder does not exist"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_stands_for_no_images_is_refused(source, message: str, folder) -> None:
    with pytest.raises(InputError, match=message):
        find_photos(source)


def test_what_a_pattern_skips_is_counted(folder, capsys) -> None:
    find_photos("one/*")
    assert capsys.readouterr().err == "one/*: 1 images; skipped: 1 not images\n"


def test_a_comma_sweeps_only_with_multirun_and_unquoted(folder) -> None:
    class Options:
        images: str | list[str]

    def quoted(word: str, *, multirun: bool) -> str:
        return quote_words([word], Options, (), multirun=multirun)[0]

    assert quoted("images=a.jpg,b.png", multirun=False) == "images='a.jpg,b.png'"
    assert quoted("images=[a.jpg,b.png]", multirun=False) == "images=['a.jpg','b.png']"
    assert quoted("images=a.jpg,b.png", multirun=True) == "images=a.jpg,b.png"
    assert quoted("images='a.jpg,b.png'", multirun=True) == "images='a.jpg,b.png'"
    (folder / "[a]").mkdir()
    assert quoted("images=[a]", multirun=False) == "images='[a]'"
