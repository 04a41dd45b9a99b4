"""Read text and JSON files.

Every problem with a file is raised as an ``InputError`` of one line that names the file.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from bua.errors import InputError

#: Called with one line for every mistake that is found.
Report = Callable[[str], None]
#: Expected type or types of each field of a record.
Types = Mapping[str, type | tuple[type, ...]]

#: Fields that identify a record, and how messages call them.
_ID_FIELDS = {"id": "id", "question_id": "id", "imgid": "image", "image_id": "image", "image": "image"}
_TYPE_NAMES = {int: "an integer", str: "a string", list: "a list", dict: "an object", float: "a number"}


def read_text(path: Path | str) -> str:
    """Return the text of a UTF-8 file without a byte order mark.

    Raises:
        InputError: If the file does not exist or is not readable as UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: file does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def read_json(path: Path | str) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: If the file does not exist or is not valid JSON; the line and column are named.
    """
    return _parse(path, None)


def read_members(path: Path | str) -> Any:
    """Return the members of the object in a JSON file as (name, value) pairs, keeping duplicate names.

    Nested objects become lists of pairs as well.

    Raises:
        InputError: If the file does not exist or is not valid JSON.
    """
    return _parse(path, list)


def _parse(path: Path | str, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None) -> Any:
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=pairs_hook)
    except json.JSONDecodeError as error:
        is_json_lines = error.msg == "Extra data" and error.lineno > 1
        hint = "; this looks like JSON lines, combine them into one list (jq -s)" if is_json_lines else ""
        raise InputError(
            f"{path}: not valid JSON: {error.msg} at line {error.lineno} column {error.colno}{hint}"
        ) from None
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"{path}: not valid JSON: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: not valid JSON: nested too deeply") from None


def records(content: Any, path: Path | str, key: str, types: Types) -> list[Any]:
    """Return the list ``content[key]`` after checking that its entries are valid records.

    Args:
        content: Parsed JSON object.
        path: File that ``content`` came from, for error messages.
        key: Name of the list in ``content``.
        types: Expected types of the fields; a field is optional if ``NoneType`` is among them.

    Raises:
        InputError: If the list or a field is missing or has the wrong type; the position and the id
            of the record are named.
    """
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise InputError(f'{path}: must be a JSON object with a list "{key}"')

    def fail(mistake: str) -> None:
        raise InputError(f"{path}: {mistake}")

    return valid_records(content[key], key, types, fail)


def valid_records(entries: list[Any], name: str, types: Types, report: Report) -> list[Any]:
    """Return the entries of a list that are dictionaries with fields of the expected types.

    Args:
        entries: List of parsed JSON values.
        name: Name of the list in the file, for messages.
        types: Expected types of the fields; a field is optional if ``NoneType`` is among them.
        report: Called once for each invalid entry, with its position and id.
    """
    return [
        record
        for position, record in enumerate(entries)
        if is_valid_record(record, f"{name}[{position}]", types, report)
    ]


def is_valid_record(record: Any, name: str, types: Types, report: Report) -> bool:
    """Return whether ``record`` is a dictionary with fields of the expected types, else report why not."""
    if not isinstance(record, dict):
        report(f"{name} is not an object")
        return False
    for field, expected in types.items():
        value = record.get(field)
        if not isinstance(value, expected) or isinstance(value, bool):
            record_id = next((f" ({_ID_FIELDS[f]} {record[f]})" for f in _ID_FIELDS if f in record), "")
            report(f"{name}{record_id}: {field} is {value!r:.80}, expected {_describe(expected)}")
            return False
    return True


def _describe(expected: type | tuple[type, ...]) -> str:
    types = expected if isinstance(expected, tuple) else (expected,)
    return " or ".join(_TYPE_NAMES.get(t, t.__name__) for t in types if t is not NoneType)


def file_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_archive(path: Path | str) -> None:
    """Check the content of a zip archive, such as a file of ``torch.save``, against its own checksums.

    ``torch.save`` writes a CRC-32 of every tensor, which ``torch.load`` ignores. Files in torch's earlier
    format have none and are not checked.

    Raises:
        InputError: If the content differs from its checksums.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path}: damaged: {error}") from None
    if damaged is not None:
        raise InputError(f"{path}: damaged: {damaged} differs from its checksum")
