"""The checksum header of a store, which reveals every changed byte before HDF5 reads the file.

HDF5 can crash the process over a single changed byte in its own structures. A file is therefore opened
only if its checksum header matches, for which everything but the columns is read; ``bua.store.check``
reads the columns as well.

HDF5 leaves the beginning of a file, the "user block", to the program that writes it. A store keeps the
checksum header there: one line of JSON, padded with spaces to 2,048 bytes::

    {"bua-seal": 1, "bytes": 123, "columns": {"boxes": [4096, 96]}, "structure": "sha256"}

``columns`` holds the first byte and the length of each dataset with one row per region. ``structure``
is the hash of every byte after the user block that belongs to no column: image ids, rows, sizes, names,
and the attribute with the hash of each column. Together they cover every byte of the file, and damage
to one column does not cast doubt on the rest.

Older files of version 1 have no user block and begin with the signature of HDF5.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

USER_BLOCK_BYTES = 2048
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Key of the version of the header; its name is part of the file format.
_VERSION_KEY = "bua-seal"
_CHUNK_BYTES = 2**20


def write_checksum(path: Path, columns: Mapping[str, tuple[int, int]]) -> None:
    """Write the checksum header of a finished file.

    Args:
        path: File with a user block of ``USER_BLOCK_BYTES`` bytes.
        columns: First byte and number of bytes of each column.
    """
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        content = {"bytes": size, "columns": {name: list(span) for name, span in columns.items()}}
        block = _format_block({**content, "structure": _structure_sha256(file, size, columns.values())})
        file.seek(0)
        file.write(block)


def checksummed_columns(path: Path) -> dict[str, tuple[int, int]] | None:
    """Return the first byte and the length of each column according to the checksum header.

    Returns:
        Spans by column name, or ``None`` if the file has no checksum header.
    """
    with open(path, "rb") as file:
        return _column_spans(_parse_block(file.read(USER_BLOCK_BYTES)))


def verify_checksum(path: Path) -> list[str]:
    """Compare the structure of a file, everything but its columns, with the checksum header.

    Returns:
        One line about the damage; an empty list if the structure is intact, or if the file has no
        checksum header and begins with the signature of HDF5.
    """
    with open(path, "rb") as file:
        block = file.read(USER_BLOCK_BYTES)
        size = os.fstat(file.fileno()).st_size
        if block.startswith(HDF5_SIGNATURE):
            return []
        content = _parse_block(block)
        columns = _column_spans(content)
        if columns is None or block != _format_block({k: v for k, v in content.items() if k != _VERSION_KEY}):
            return [f"{path}: not a readable HDF5 file, or its first {USER_BLOCK_BYTES:,} bytes are damaged"]
        if content["bytes"] != size:
            return [f"{path}: damaged: it has {size:,} bytes, but {content['bytes']:,} were written"]
        if content.get("structure") != _structure_sha256(file, size, columns.values()):
            return [
                f"{path}: damaged: its ids, rows, sizes or attributes have changed since they were written "
                "(sha256)"
            ]
    return []


def _format_block(content: Mapping[str, Any]) -> bytes:
    text = json.dumps({_VERSION_KEY: 1, **content}, sort_keys=True)
    return text.encode().ljust(USER_BLOCK_BYTES - 1) + b"\n"


def _parse_block(block: bytes) -> dict[str, Any]:
    try:
        content = json.loads(block)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get(_VERSION_KEY) == 1 else {}


def _column_spans(content: Mapping[str, Any]) -> dict[str, tuple[int, int]] | None:
    columns = content.get("columns")
    if not isinstance(columns, dict) or not isinstance(content.get("bytes"), int):
        return None
    spans = {}
    for name, span in columns.items():
        valid = isinstance(span, list) and len(span) == 2 and all(type(n) is int and n >= 0 for n in span)
        if not valid or span[0] < USER_BLOCK_BYTES or sum(span) > content["bytes"]:
            return None
        spans[name] = (span[0], span[1])
    return spans


def _structure_sha256(file: IO[bytes], size: int, columns: Any) -> str:
    """Return the sha256 of all bytes after the user block that belong to no column."""
    digest = hashlib.sha256()
    position = USER_BLOCK_BYTES
    for start, count in sorted(columns):
        for chunk in _read_chunks(file, position, start):
            digest.update(chunk)
        position = max(position, start + count)
    for chunk in _read_chunks(file, position, size):
        digest.update(chunk)
    return digest.hexdigest()


def _read_chunks(file: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    file.seek(start)
    while start < stop and (chunk := file.read(min(_CHUNK_BYTES, stop - start))):
        start += len(chunk)
        yield chunk
