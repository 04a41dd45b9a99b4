"""Files of predictions in the official formats: a JSON list of objects with an id and a text.

Answers have the keys of VQA v2, of GQA or of VizWiz, which the first object of the list shows.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bua.errors import InputError
from bua.io.files import read_json
from bua.io.schema import Id, valid_records
from bua.structures.annotations import ImageId

#: Advice to those whose predictions cover only a part of the references.
ALLOW_MISSING = "; give allow_missing=true to score only those that have one"
#: Fields of the id and of the answer: those of VQA v2, GQA and VizWiz.
ANSWER_FIELDS = (("question_id", "answer"), ("questionId", "prediction"), ("image", "answer"))


def read_answers(path: Path | str) -> dict[ImageId, str]:
    """Read predicted answers with the fields of VQA v2, GQA or VizWiz.

    Raises:
        InputError: If it is not such a list, or an id is duplicated.
    """
    content = read_json(path)
    first = content[0] if isinstance(content, list) and content else None
    found = (fields for fields in ANSWER_FIELDS if isinstance(first, dict) and fields[0] in first)
    return _predictions(content, path, *next(found, ANSWER_FIELDS[0]))


def read_predictions(path: Path | str, key: str, value: str) -> dict[ImageId, str]:
    """Read predictions; other fields of the objects are ignored.

    Args:
        path: Path of the file.
        key: Field of the id, which is an integer, or a string in some data sets.
        value: Field of the text.

    Raises:
        InputError: If it is not such a list, or an id is duplicated.
    """
    return _predictions(read_json(path), path, key, value)


def _predictions(content: Any, path: Path | str, key: str, value: str) -> dict[ImageId, str]:
    if not isinstance(content, list):
        hint = "; put brackets around the object" if isinstance(content, dict) and key in content else ""
        raise InputError(f'{path}: must be a JSON list of {{"{key}", "{value}"}}{hint}')
    if not content:
        raise InputError(f"{path}: holds no predictions")
    mistakes: list[str] = []
    valid_records(
        content, "entry", msgspec.defstruct("Prediction", [(key, Id), (value, str)]), mistakes.append
    )
    if mistakes:
        raise InputError(f"{path}: {mistakes[0]} ({len(mistakes)} of {len(content)} entries are invalid)")
    predictions: dict[ImageId, str] = {record[key]: record[value] for record in content}
    if surplus := len(content) - len(predictions):
        duplicate = _first_duplicate([record[key] for record in content])
        raise InputError(
            f"{path}: {key} {duplicate!r} is duplicated ({surplus} of {len(content)} entries are duplicates)"
        )
    return predictions


def _first_duplicate(ids: list[ImageId]) -> ImageId:
    """Return the first duplicated id; there must be one."""
    seen: set[ImageId] = set()
    for i in ids:
        if i in seen:
            return i
        seen.add(i)
    raise AssertionError("all ids are distinct")


def check_known(
    predictions: Mapping[ImageId, str],
    known: Collection[ImageId],
    noun: str,
    path: Path | str,
    source: Path | str,
) -> None:
    """Check that every prediction has a reference.

    Args:
        predictions: Predictions by id.
        known: Ids of the references.
        noun: What an id names, such as "image".
        path: File of the predictions.
        source: File of the references.

    Raises:
        InputError: If an id has no reference; the message names the first and counts them.
    """
    extra = [i for i in predictions if i not in known]
    if extra:
        raise InputError(
            f"{path}: {noun} {extra[0]!r} is not in {source} ({len(extra)} of {len(predictions)} "
            f"predictions have no reference){id_type_hint(extra[0], known)}"
        )


def check_complete(
    predictions: Mapping[ImageId, str],
    known: Collection[ImageId],
    noun: str,
    path: Path | str,
    source: Path | str,
    hint: str = "",
) -> None:
    """Check that every reference has a prediction.

    Args:
        predictions: Predictions by id.
        known: Ids of the references.
        noun: What an id names, such as "image".
        path: File of the predictions.
        source: File of the references.
        hint: Advice that is added to the message. Default: none.

    Raises:
        InputError: If an id has no prediction; the message names the first and counts them.
    """
    missing = [i for i in known if i not in predictions]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of the {len(known)} {noun}s of {source} have no prediction, the first "
            f"is {missing[0]!r}{hint}"
        )


def id_type_hint(found: ImageId, known: Collection[ImageId]) -> str:
    """Return a hint if an id merely has the wrong type, or an empty string otherwise."""
    if str(found) in known:
        return "; ids are texts there and must be quoted"
    if isinstance(found, str) and found.isdecimal() and int(found) in known:
        return "; ids are numbers there and must not be quoted"
    return ""
