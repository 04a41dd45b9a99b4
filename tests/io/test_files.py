"""Reading and writing of text and JSON files."""

from pathlib import Path

import pytest

from bua.errors import InputError
from bua.io.files import read_json, read_members, read_text
from bua.io.write import write_text


def test_text_is_written_atomically_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in ("first", "zweitens: é"):
        write_text(path, text)
        assert read_text(path) == text
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_directory_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}: is a directory, expected a file name"):
        write_text(tmp_path, "text")


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json") == [1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1,", "not valid JSON: .* at line 1 column"),
        (b'{"a": 1}\n{"a": 2}', "this looks like JSON lines"),
        (b"9" * 5000, "not valid JSON: .*digits"),
        (b"[" * 100_000, "not valid JSON: nested too deeply"),
        (b"\xff", "cannot be read as UTF-8 text"),
    ],
)
def test_invalid_json_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=f"a.json: .*{message}"):
        read_json(tmp_path / "a.json")


def test_members_keep_duplicate_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1, "b": {"c": 2}, "a": 3}')
    assert read_members(tmp_path / "a.json") == [("a", 1), ("b", [("c", 2)]), ("a", 3)]
