"""Reading files of predictions in the official formats: a JSON list of objects with an id and a text."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.io.json_file import read_json
from bua.store.reader import ImageId


def read_predictions(path: Path | str, key: str, value: str) -> dict[ImageId, str]:
    """Read predictions; other fields of the objects are not looked at.

    Args:
        path: the file.
        key: the field of the id: a whole number, or a text in some data sets.
        value: the field of the text.

    Raises:
        InputError: it is not such a list, or an id comes twice.
    """
    content = read_json(path)
    if not isinstance(content, list):
        one = " around it" if isinstance(content, dict) and key in content else ""
        raise InputError(f'{path}: a JSON list of {{"{key}", "{value}"}} is needed{one}')
    if not content:
        raise InputError(f"{path}: there are no predictions in it")
    faults = {n: fault for n, record in enumerate(content) if (fault := _fault(record, key, value))}
    if faults:
        first = min(faults)
        raise InputError(
            f'{path}: entry {first} is not an object with "{key}" and a text "{value}": {faults[first]} '
            f"({len(faults)} of {len(content)} entries are wrong)"
        )
    results: dict[ImageId, str] = {record[key]: record[value] for record in content}
    if len(results) < len(content):
        twice = _first_twice([record[key] for record in content])
        more = len(content) - len(results)
        raise InputError(
            f"{path}: {key} {twice!r} comes twice ({more} of {len(content)} entries are too many)"
        )
    return results


def _fault(record: Any, key: str, value: str) -> str:
    """Return what is wrong with an entry; nothing if it is sound."""
    if not isinstance(record, dict):
        return f"it is {record!r:.80}"
    for field, types, wanted in ((key, (int, str), "a whole number or a text"), (value, (str,), "a text")):
        if type(record.get(field)) not in types:
            found = f"is {record[field]!r:.80}" if field in record else "is missing"
            return f'"{field}" {found}, {wanted} is needed'
    return ""


def _first_twice(ids: list[ImageId]) -> ImageId:
    seen: set[ImageId] = set()
    return next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]


def check_known(
    results: Mapping[ImageId, str],
    known: Collection[ImageId],
    noun: str,
    path: Path | str,
    source: Path | str,
) -> None:
    """Check that predictions are about nothing else than ``known``.

    Args:
        results: predictions by id.
        known: the ids that there are.
        noun: what an id names.
        path: the file of the predictions.
        source: the file that says which ids there are.

    Raises:
        InputError: an id is not known; the first is named, and how many there are.
    """
    extra = [i for i in results if i not in known]
    if extra:
        raise InputError(
            f"{path}: {noun} {extra[0]!r} is not in {source} ({len(extra)} of the {len(results)} "
            f"predictions are of none){id_type_hint(extra[0], known)}"
        )


def check_complete(
    results: Mapping[ImageId, str],
    known: Collection[ImageId],
    noun: str,
    path: Path | str,
    source: Path | str,
    hint: str = "",
) -> None:
    """Check that everything known was predicted; arguments as of ``check_known``, and what could be done.

    Raises:
        InputError: an id is missing; the first is named, and how many there are.
    """
    missing = [i for i in known if i not in results]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of the {len(known)} {noun}s of {source} were not predicted, the first "
            f"is {missing[0]!r}{hint}"
        )


def id_type_hint(found: ImageId, known: Collection[ImageId]) -> str:
    """Say that an id is only written as another type, if it is so."""
    if str(found) in known:
        return "; ids are texts there and must stand in quotes"
    if isinstance(found, str) and found.isdecimal() and int(found) in known:
        return "; ids are numbers there and must stand without quotes"
    return ""
