"""Image ids of foreign files: integers if all of them are, strings otherwise.

If every id of a source is an integer or a COCO file name (``COCO_val2014_000000000042``,
``000000000042``, or either with ``.jpg``), the integers become the ids. Otherwise all ids remain strings,
exactly as they are written. ``id_type=text`` and ``id_type=number`` override this rule.
"""

import re
from pathlib import Path, PurePosixPath

from bua.errors import InputError
from bua.store.formats.source import InvalidImageError
from bua.structures.annotations import ImageId

ID_RULES = ("auto", "number", "text")
_COCO_NAME = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})(?:\.(?:jpg|jpeg|png))?", re.IGNORECASE)
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")


def parse_number(name: str | int) -> int | None:
    """Return the integer of an id that is an integer or a COCO file name, or ``None``."""
    if isinstance(name, int):
        return name
    coco = _COCO_NAME.fullmatch(name)
    return int(coco[1]) if coco else int(name) if _INTEGER.fullmatch(name) else None


def parse_image_id(name: str | int, rule: str) -> ImageId:
    """Return the id of an image as an integer or a string.

    Args:
        name: Id as it is written in the file.
        rule: ``number`` for an integer, ``text`` for a string.

    Raises:
        InvalidImageError: If the id cannot be stored as a string, or is not an integer as required.
    """
    if rule == "text":
        if name == "" or "\0" in str(name):
            raise InvalidImageError(f"the id {name!r:.80} cannot be stored")
        return str(name)
    number = parse_number(name)
    if number is None or not -(2**63) <= number < 2**63:
        raise InvalidImageError(f"the id {name!r:.80} is not a number")
    return number


def id_to_file_name(image: ImageId, path: Path) -> str:
    """Return an id as the name of a file in a folder, without suffix.

    Args:
        image: Id of an image.
        path: Output path, named in messages.

    Raises:
        InputError: If the file would be outside the folder, or the id is not a valid file name.
    """
    text = str(image)
    parts = PurePosixPath(text).parts
    if not parts or text.startswith("/") or ".." in parts or "\0" in text or "/".join(parts) != text:
        raise InputError(f"{path}: image id {text!r} is not a valid file name")
    if max(len(part.encode()) for part in parts) > 200:
        raise InputError(f"{path}: image id {text[:40]!r}... is too long for a file name")
    return text


def require_numeric_ids(images: list[ImageId], format_name: str, path: Path) -> list[int]:
    """Return the ids of a store for a format that supports only integer ids.

    Args:
        images: Ids of the store.
        format_name: Name of the format, for messages.
        path: Output path, named in messages.

    Raises:
        InputError: If an id is a string.
    """
    for image in images:
        if not isinstance(image, int):
            raise InputError(
                f"{path}: image id {image!r} is a string, but {format_name} supports only integer ids"
            )
    return [image for image in images if isinstance(image, int)]
