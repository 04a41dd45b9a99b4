"""The seal of a store: by it every changed byte of the file is found, before HDF5 reads any of them.

HDF5 can end the process over a single changed byte of its own structures. So a file is opened only
when its seal holds, which takes reading everything but the columns; ``check`` reads those too.

HDF5 leaves the head of a file, its "user block", to the program that writes it. A store keeps one
line of JSON there, filled up with spaces to 2,048 bytes::

    {"bua-seal": 1, "bytes": 123, "columns": {"boxes": [4096, 96]}, "structure": "sha256"}

``columns`` are the first byte and the length of each dataset with one row a region. ``structure``
is the hash of every byte behind the block that lies in no column: image ids, rows, sizes, names,
and the attribute with the hash of each column. So column, structure and seal hold each other, no
byte is outside, and a column can be damaged without the rest being in doubt.

Files of version 1 from before have no block and begin with the signature of HDF5.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

BLOCK = 2048
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_CHUNK = 2**20


def write_checksum(path: Path, columns: Mapping[str, tuple[int, int]]) -> None:
    """Write the seal of a finished file.

    Args:
        path: a file with a user block of ``BLOCK`` bytes.
        columns: first byte and number of bytes of each column.
    """
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        content = {"bytes": size, "columns": {name: list(span) for name, span in columns.items()}}
        block = _block({**content, "structure": _structure(file, size, columns.values())})
        file.seek(0)
        file.write(block)


def checksummed_columns(path: Path) -> dict[str, tuple[int, int]] | None:
    """Return where the seal says that the columns lie; ``None`` for a file without a seal."""
    with open(path, "rb") as file:
        return _columns(_content(file.read(BLOCK)))


def verify_checksum(path: Path) -> list[str]:
    """Return what of a file's structure is not as it was written; columns are not looked at.

    Returns:
        One line, or nothing: the seal holds, or there is none (and the file begins with HDF5).
    """
    with open(path, "rb") as file:
        block = file.read(BLOCK)
        size = os.fstat(file.fileno()).st_size
        if block.startswith(SIGNATURE):
            return []
        content = _content(block)
        columns = _columns(content)
        if columns is None or block != _block({k: v for k, v in content.items() if k != "bua-seal"}):
            return [f"{path}: not a readable HDF5 file, or its first {BLOCK:,} bytes are damaged"]
        if content["bytes"] != size:
            return [f"{path}: damaged: it has {size:,} bytes, {content['bytes']:,} were written"]
        if content.get("structure") != _structure(file, size, columns.values()):
            return [f"{path}: damaged: its ids, rows, sizes or attributes are not what was written (sha256)"]
    return []


def _block(content: Mapping[str, Any]) -> bytes:
    text = json.dumps({"bua-seal": 1, **content}, sort_keys=True)
    return text.encode().ljust(BLOCK - 1) + b"\n"


def _content(block: bytes) -> dict[str, Any]:
    try:
        content = json.loads(block)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get("bua-seal") == 1 else {}


def _columns(content: Mapping[str, Any]) -> dict[str, tuple[int, int]] | None:
    columns = content.get("columns")
    if not isinstance(columns, dict) or not isinstance(content.get("bytes"), int):
        return None
    spans = {}
    for name, span in columns.items():
        sound = isinstance(span, list) and len(span) == 2 and all(type(n) is int and n >= 0 for n in span)
        if not sound or span[0] < BLOCK or sum(span) > content["bytes"]:
            return None
        spans[name] = (span[0], span[1])
    return spans


def _structure(file: IO[bytes], size: int, columns: Any) -> str:
    """Return the sha256 of what lies behind the block and in no column."""
    digest = hashlib.sha256()
    at = BLOCK
    for start, count in sorted(columns):
        for piece in _pieces(file, at, start):
            digest.update(piece)
        at = max(at, start + count)
    for piece in _pieces(file, at, size):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(file: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    file.seek(start)
    while start < stop and (piece := file.read(min(_CHUNK, stop - start))):
        start += len(piece)
        yield piece
