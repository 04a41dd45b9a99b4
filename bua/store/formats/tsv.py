"""Read and write tab-separated files with arrays in base64.

Python's ``csv`` is not used: it rejects fields of more than 128 KiB by default, and is slower than
splitting at tabs, which these files never have inside a field.
"""

import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bua.errors import InputError
from bua.store.formats.source import InvalidImageError
from bua.structures.annotations import ImageId

#: Upper limit for the length of a row.
_MAX_LINE_BYTES = 2**28
_BUFFER_BYTES = 2**20
MISSING_PADDING = "base64 without padding"


def tsv_files(path: Path) -> list[Path]:
    """Return the file itself, or the files of a folder with ``.tsv`` in their names.

    Raises:
        InputError: If there are no such files.
    """
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if ".tsv" in p.name and p.is_file())
        if not paths:
            raise InputError(f"{path}: folder has no .tsv files")
        return paths
    if not path.is_file():
        raise InputError(f"{path}: file does not exist")
    return [path]


def read_rows(path: Path, names: str = "") -> Iterator[tuple[str, list[bytes]]]:
    """Yield the location and the fields of each row; empty lines and a header line are skipped.

    Args:
        path: File to read.
        names: Beginning of a header line; by default no header is expected.

    Raises:
        InputError: If a line is too long to be a row of features.
    """
    header = names.encode()
    with open(path, "rb", buffering=_BUFFER_BYTES) as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES):
            number += 1
            if len(line) == _MAX_LINE_BYTES:
                raise InputError(
                    f"{path}: line {number} has more than {_MAX_LINE_BYTES:,} bytes; not a file of features"
                )
            line = line.rstrip(b"\r\n")
            if line and not (header and number == 1 and line.startswith(header)):
                yield f"{path.name} line {number}", line.split(b"\t")


def decode_array(
    text: bytes, dtype: DTypeLike, shape: tuple[int, ...], name: str, repaired: list[str]
) -> NDArray[Any]:
    """Decode an array in base64.

    Args:
        text: Base64 of the array, little-endian.
        dtype: Type of the elements.
        shape: Shape of the array; the last dimension may be -1 for any size.
        name: Name of the field, for messages.
        repaired: List of repairs; extended if the padding of the base64 is missing.

    Raises:
        InvalidImageError: If the text is not base64, or has another length.
    """
    missing = -len(text) % 4
    if missing:
        text = text.rstrip(b"=")
        text += b"=" * (-len(text) % 4)
    try:
        content = binascii.a2b_base64(text)
    except binascii.Error as error:
        raise InvalidImageError(f"{name} is not base64 ({str(error).lower()})") from None
    if len(content) != len(text) // 4 * 3 - text[-2:].count(b"="):
        raise InvalidImageError(f"{name} contains characters that are not base64")
    known_bytes = int(np.prod([n for n in shape if n >= 0], dtype=int)) * np.dtype(dtype).itemsize
    if not content or (len(content) % known_bytes if -1 in shape else len(content) != known_bytes):
        expected = f"a multiple of {known_bytes}" if -1 in shape else f"{known_bytes}"
        raise InvalidImageError(
            f"{name} must have {expected} bytes for {shape[0]} regions, got {len(content)} bytes"
        )
    if missing:
        repaired.append(MISSING_PADDING)
    return np.frombuffer(content, dtype).reshape(shape)


def parse_int(field: bytes, name: str) -> int:
    """Return the integer of a field, which may be written as ``640.0``.

    Args:
        field: Field of a row.
        name: Name of the field, for messages.

    Raises:
        InvalidImageError: If the field is not an integer.
    """
    try:
        number = float(field)
        if number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise InvalidImageError(f"{name} must be an integer, got {field[:40]!r}") from None
    return int(number)


def encode_array(array: NDArray[Any], dtype: DTypeLike) -> bytes:
    """Return the base64 of an array after conversion to ``dtype``, which includes the byte order."""
    return binascii.b2a_base64(np.ascontiguousarray(array, dtype).data, newline=False)


def encode_id(image: ImageId, path: Path) -> bytes:
    """Return an id as the first field of a row.

    Args:
        image: Id of an image.
        path: Output path, named in messages.

    Raises:
        InputError: If the id is empty, or contains a tab or line break.
    """
    text = str(image)
    if not text or any(character in text for character in "\t\r\n"):
        raise InputError(f"{path}: image id {text!r} is empty or contains a tab or line break")
    return text.encode()
