"""Ids of images in foreign files: numbers where all of them are, texts otherwise.

The rule: if every id of a source is a whole number, or named as COCO names its files (as
``COCO_val2014_000000000042``, ``000000000042`` or either with ``.jpg``), the numbers are the ids.
Otherwise all ids stay texts exactly as they stand. ``ids=text`` or ``ids=number`` decides it instead.
"""

import re
from pathlib import Path, PurePosixPath

from bua.errors import InputError
from bua.store.formats.item import InvalidImageError
from bua.store.reader import ImageId

RULES = ("auto", "number", "text")
_COCO = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})(?:\.(?:jpg|jpeg|png))?", re.IGNORECASE)
_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")


def number(name: str | int) -> int | None:
    """Return the number that an id stands for, if it is one by the rule above."""
    if isinstance(name, int):
        return name
    coco = _COCO.fullmatch(name)
    return int(coco[1]) if coco else int(name) if _WHOLE.fullmatch(name) else None


def image_id(name: str | int, rule: str) -> ImageId:
    """Return the id of an image by the rule ``number`` or ``text``.

    Raises:
        InvalidImageError: it is empty, cannot be stored, or is not a number where numbers are wanted.
    """
    if rule == "text":
        if name == "" or "\0" in str(name):
            raise InvalidImageError(f"the id {name!r:.80} cannot be stored")
        return str(name)
    found = number(name)
    if found is None or not -(2**63) <= found < 2**63:
        raise InvalidImageError(f"the id {name!r:.80} is not a number")
    return found


def file_name(image: ImageId, path: Path) -> str:
    """Return an id as the name of a file below a folder, without suffix.

    Raises:
        InputError: such a file would lie outside of the folder, or could not be named so.
    """
    text = str(image)
    parts = PurePosixPath(text).parts
    if not parts or text.startswith("/") or ".." in parts or "\0" in text or "/".join(parts) != text:
        raise InputError(f"{path}: image id {text!r} cannot be the name of a file")
    if max(len(part.encode()) for part in parts) > 200:
        raise InputError(f"{path}: image id {text[:40]!r}... is too long for the name of a file")
    return text


def numbers_only(images: list[ImageId], format_name: str, path: Path) -> list[int]:
    """Return the ids of a store for a format that holds numbers only.

    Raises:
        InputError: one is a text.
    """
    for image in images:
        if not isinstance(image, int):
            raise InputError(f"{path}: image id {image!r} is a text, {format_name} holds numbers only")
    return [image for image in images if isinstance(image, int)]
