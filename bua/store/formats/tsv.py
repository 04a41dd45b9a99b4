"""Lines of tab-separated files whose columns hold arrays in base64, and writing them.

Python's ``csv`` is not used: it refuses fields beyond 128 KiB by default, and is slower than
splitting at tabs, which these files never have inside a field.
"""

import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bua.errors import InputError
from bua.store.formats.item import InvalidImageError
from bua.store.reader import ImageId

#: No row of features is longer.
_LONGEST = 2**28
_BUFFER = 2**20
PADDING = "base64 without its padding"


def files(path: Path) -> list[Path]:
    """Return the files that a source means: itself, or in a folder all whose names hold ``.tsv``.

    Raises:
        InputError: there is none.
    """
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if ".tsv" in p.name and p.is_file())
        if not found:
            raise InputError(f"{path}: there is no .tsv file in it")
        return found
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    return [path]


def rows(path: Path, names: str = "") -> Iterator[tuple[str, list[bytes]]]:
    """Yield each line's place and fields; empty lines and a line of column names are passed over.

    Args:
        path: the file.
        names: what a line of column names begins with; none is expected by default.

    Raises:
        InputError: a line is longer than any row of features.
    """
    header = names.encode()
    with open(path, "rb", buffering=_BUFFER) as file:
        number = 0
        while line := file.readline(_LONGEST):
            number += 1
            if len(line) == _LONGEST:
                raise InputError(
                    f"{path}: line {number} has more than {_LONGEST:,} bytes: not a file of rows"
                )
            line = line.rstrip(b"\r\n")
            if line and not (header and number == 1 and line.startswith(header)):
                yield f"{path.name} line {number}", line.split(b"\t")


def decoded(
    text: bytes, kind: DTypeLike, shape: tuple[int, ...], what: str, repaired: list[str]
) -> NDArray[Any]:
    """Return the array behind a field.

    Args:
        text: base64 of its bytes, little-endian.
        kind: of its numbers.
        shape: of which the last may be -1: as many as there are.
        what: its name, for messages.
        repaired: told if padding was missing.

    Raises:
        InvalidImageError: it is not base64, or of another length.
    """
    missing = -len(text) % 4
    if missing:
        text = text.rstrip(b"=")
        text += b"=" * (-len(text) % 4)
    try:
        content = binascii.a2b_base64(text)
    except binascii.Error as error:
        raise InvalidImageError(f"{what} is not base64 ({str(error).lower()})") from None
    if len(content) != len(text) // 4 * 3 - text[-2:].count(b"="):
        raise InvalidImageError(f"{what} holds characters that are not base64")
    known = int(np.prod([n for n in shape if n >= 0], dtype=int)) * np.dtype(kind).itemsize
    if not content or (len(content) % known if -1 in shape else len(content) != known):
        needed = f"a multiple of {known}" if -1 in shape else f"{known}"
        raise InvalidImageError(
            f"{what} has {len(content)} bytes, {needed} are needed for {shape[0]} regions"
        )
    if missing:
        repaired.append(PADDING)
    return np.frombuffer(content, kind).reshape(shape)


def whole(field: bytes, what: str) -> int:
    """Return a field as a whole number; ``640.0`` is one.

    Raises:
        InvalidImageError: it is not.
    """
    try:
        number = float(field)
        if number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise InvalidImageError(f"{what} is {field[:40]!r}, a whole number is needed") from None
    return int(number)


def encoded(array: NDArray[Any], kind: DTypeLike) -> bytes:
    """Return the base64 of an array, as numbers of this kind, little-endian."""
    return binascii.b2a_base64(np.ascontiguousarray(array, kind).data, newline=False)


def identifier(image: ImageId, path: Path) -> bytes:
    """Return an id as the first field of a row.

    Raises:
        InputError: it holds what ends a field.
    """
    text = str(image)
    if not text or any(character in text for character in "\t\r\n"):
        raise InputError(f"{path}: image id {text!r} cannot be written between tabs")
    return text.encode()
