"""Reading JSON files of annotations: every mistake in them becomes one line that names the file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from bua.errors import InputError
from bua.io.text_file import read_text

#: Called with a line for every mistake that is found.
Report = Callable[[str], None]
Types = Mapping[str, type | tuple[type, ...]]

#: The fields that name a record, and what to call them.
_NAMES = {"id": "id", "question_id": "id", "imgid": "image", "image_id": "image", "image": "image"}


def read_json(path: Path | str) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: there is no such file, or it is not JSON; the line and column are named.
    """
    return _parse(path, None)


def read_members(path: Path | str) -> Any:
    """Return the members of the object in a JSON file as pairs, a name that comes twice twice.

    Objects inside of it become lists of pairs, too.

    Raises:
        InputError: as ``read_json``.
    """
    return _parse(path, list)


def _parse(path: Path | str, pairs: Callable[[list[tuple[str, Any]]], Any] | None) -> Any:
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        lines = error.msg == "Extra data" and error.lineno > 1
        hint = "; it looks like JSON lines: make one list of them, as with jq -s" if lines else ""
        raise InputError(
            f"{path}: not JSON: {error.msg} at line {error.lineno} column {error.colno}{hint}"
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{path}: not JSON: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: not JSON: nested too deeply") from None


def records(content: Any, path: Path | str, key: str, types: Types) -> list[Any]:
    """Return the list ``content[key]``, each a dictionary with fields of the ``types`` given.

    Raises:
        InputError: the list, a field or its type is not there; the position and the id are named.
    """
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise InputError(f'{path}: a JSON object with a list "{key}" is needed')

    def stop(mistake: str) -> None:
        raise InputError(f"{path}: {mistake}")

    return valid_records(content[key], key, types, stop)


def valid_records(found: list[Any], name: str, types: Types, report: Report) -> list[Any]:
    """Return those of a list that are dictionaries with fields of the ``types`` given.

    Args:
        found: the list.
        name: what it is called in the file.
        types: of the fields; one that may be missing has ``NoneType`` among them.
        report: hears of each of the others, with its position and its id.
    """
    return [
        record
        for position, record in enumerate(found)
        if is_valid_record(record, f"{name}[{position}]", types, report)
    ]


def is_valid_record(record: Any, name: str, types: Types, report: Report) -> bool:
    """Say whether something is a dictionary with fields of the ``types`` given, and tell what is not so."""
    if not isinstance(record, dict):
        report(f"{name} is not an object")
        return False
    for field, kind in types.items():
        value = record.get(field)
        if not isinstance(value, kind) or isinstance(value, bool):
            known = next((f" ({_NAMES[n]} {record[n]})" for n in _NAMES if n in record), "")
            report(f"{name}{known}: {field} is {value!r:.80}, {_name(kind)} is needed")
            return False
    return True


def _name(kind: type | tuple[type, ...]) -> str:
    names = {int: "a whole number", str: "a text", list: "a list", dict: "an object", float: "a number"}
    kinds = [k for k in (kind if isinstance(kind, tuple) else (kind,)) if k is not NoneType]
    return " or ".join(names.get(k, k.__name__) for k in kinds)
