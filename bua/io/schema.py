"""Validation of what comes from files: the types of all values are checked before anything uses them.

Schemas are written as types, mostly ``TypedDict``, and checked by msgspec: integers are not booleans, fields
that a schema does not name may have any value, and bounds are part of a type.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bua.errors import InputError

#: Called with one line for every mistake that is found.
Report = Callable[[str], None]

#: A number that fits into 64 bits, as stores and tensors need it.
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Id = Integer | str
#: Width or height of an image.
Pixels = Annotated[int, Meta(ge=1, le=2**31 - 1)]
#: A coordinate of a box: neither infinite nor NaN.
Coordinate = Annotated[float, Meta(gt=-(2**31), lt=2**31)]
#: Four coordinates.
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]

#: Fields that identify a record, and how messages call them.
_ID_FIELDS = {"id": "id", "question_id": "id", "imgid": "image", "image_id": "image", "image": "image"}
#: msgspec's names of types in messages.
_NAMES = {
    "int": "an integer",
    "str": "a string",
    "array": "a list",
    "object": "an object",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
}
_MISSING = re.compile(r"Object missing required field `(.*)`")
_EXPECTED = re.compile(r"Expected `([^`]+)`(.*?)(?:, got .*)?$")


def validate(content: Any, schema: Any, source: Path | str, name: str = "") -> None:
    """Check a value from a file against a schema.

    Args:
        content: Parsed value.
        schema: Type that msgspec supports.
        source: File of the value.
        name: Name of the value in the file. Default: it is the whole file.

    Raises:
        InputError: If the value does not have the type; the field, its value and its type are named.
    """
    mistake = find_mismatch(content, schema)
    if mistake is not None:
        raise InputError(f"{source}: {name}{': ' if name else ''}{mistake}")


def parse_json(text: str | bytes, schema: Any, source: Path | str, name: str) -> Any:
    """Return the value of JSON that is part of another file, after checking it against a schema.

    Args:
        text: JSON.
        schema: Type of its value.
        source: File that it is in.
        name: Name of the part, such as "line 3".

    Raises:
        InputError: If it is not JSON, or its value does not have the type.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: {name} is not valid JSON ({error})") from None
    validate(content, schema, source, name)
    return content


def find_mismatch(content: Any, schema: Any) -> str | None:
    """Return in what a value differs from a schema, or None if it does not."""
    try:
        msgspec.convert(content, schema)
    except UnicodeEncodeError:  # a text with half of a surrogate pair, which msgspec does not take
        return find_mismatch(_replace_surrogates(content), schema)
    except msgspec.ValidationError as error:
        return _describe(str(error), content)
    return None


def _replace_surrogates(content: Any) -> Any:
    """Return a copy of parsed JSON with question marks for halves of surrogate pairs."""
    if isinstance(content, str):
        return content.encode(errors="replace").decode()
    if isinstance(content, list):
        return [_replace_surrogates(value) for value in content]
    if isinstance(content, dict):
        return {_replace_surrogates(key): _replace_surrogates(value) for key, value in content.items()}
    return content


def records(content: Any, path: Path | str, key: str, schema: Any) -> list[Any]:
    """Return the list ``content[key]`` after checking that its entries are valid records.

    Args:
        content: Parsed JSON object.
        path: File that ``content`` came from, for error messages.
        key: Name of the list in ``content``.
        schema: Type of the entries.

    Raises:
        InputError: If the list is missing, or a field is missing or has the wrong type; the position and the
            id of the record are named.
    """
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise InputError(f'{path}: must be a JSON object with a list "{key}"')

    def fail(mistake: str) -> None:
        raise InputError(f"{path}: {mistake}")

    return valid_records(content[key], key, schema, fail)


def valid_records(entries: list[Any], name: str, schema: Any, report: Report) -> list[Any]:
    """Return the entries of a list that are valid records.

    Args:
        entries: List of parsed JSON values.
        name: Name of the list in the file, for messages.
        schema: Type of the entries.
        report: Called once for each invalid entry, with its position and id.
    """
    return [
        record
        for position, record in enumerate(entries)
        if is_valid_record(record, f"{name}[{position}]", schema, report)
    ]


def is_valid_record(record: Any, name: str, schema: Any, report: Report) -> bool:
    """Return whether a record has the type of a schema, else report why not."""
    if not isinstance(record, dict):
        report(f"{name} is not an object")
        return False
    mistake = find_mismatch(record, schema)
    if mistake is not None:
        found = next((f" ({_ID_FIELDS[f]} {record[f]!s:.80})" for f in _ID_FIELDS if f in record), "")
        report(f"{name}{found}: {mistake}")
    return mistake is None


def _describe(message: str, content: Any) -> str:
    """Return msgspec's message with the value, and in the words of other messages."""
    text, _, path = message.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    if "[...]" in path:  # msgspec does not tell under which key
        return f"{path.partition('[...]')[0] or 'one of its values'}: {text[:1].lower()}{text[1:]}"
    if missing := _MISSING.fullmatch(text):
        return f"{path}{' has no ' if path else 'has no '}{missing[1]}"
    value = f"{path} is {_follow(content, path)!r:.80}" if path else f"is {content!r:.80}"
    expected = _EXPECTED.fullmatch(text)
    if expected is None:
        return f"{value}: {text[:1].lower()}{text[1:]}"
    names = " or ".join(_NAMES.get(one, one) for one in expected[1].split(" | "))
    return f"{value}, expected {names}{expected[2]}"


def _follow(content: Any, path: str) -> Any:
    """Return the value at a path of msgspec such as ``images[3].id``."""
    for field, position in re.findall(r"([^.\[\]]+)(?![^\[]*\])|\[(\d+)\]", path):
        try:
            content = content[int(position)] if position else content[field]
        except (KeyError, IndexError, TypeError):
            break
    return content
