"""Reading JSON files of annotations: every mistake in them becomes one line that names the file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bua.errors import InputError


def read_json(path: Path | str) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: there is no such file, or it is not JSON; the line and column are named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = "; it looks like JSON lines, one document is needed" if error.msg == "Extra data" else ""
        raise InputError(
            f"{path}: not JSON: {error.msg} at line {error.lineno} column {error.colno}{hint}"
        ) from None
    except RecursionError:
        raise InputError(f"{path}: not JSON: nested too deeply") from None


def records(
    content: Any, path: Path | str, key: str, types: Mapping[str, type | tuple[type, ...]]
) -> list[Any]:
    """Return the list ``content[key]``, each a dictionary with fields of the ``types`` given.

    Raises:
        InputError: the list, a field or its type is not there; the position and the id are named.
    """
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise InputError(f'{path}: a JSON object with a list "{key}" is needed')
    for position, record in enumerate(content[key]):
        if not isinstance(record, dict):
            raise InputError(f"{path}: {key}[{position}] is not an object")
        for field, kind in types.items():
            value = record.get(field)
            if not isinstance(value, kind) or isinstance(value, bool):
                known = next((f" (id {record[n]})" for n in ("id", "question_id") if n in record), "")
                raise InputError(
                    f"{path}: {key}[{position}]{known}: {field} is {value!r:.80}, {_name(kind)} is needed"
                )
    return list(content[key])


def _name(kind: type | tuple[type, ...]) -> str:
    names = {int: "a whole number", str: "a text", list: "a list", dict: "an object", float: "a number"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(names.get(k, k.__name__) for k in kinds)
