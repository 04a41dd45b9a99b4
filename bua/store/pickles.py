"""Reading pickles and torch files that others made, without running anything in them.

=====================  ==========================================================================
``read_pickled(path)`` a pickle or a torch file, told apart by content
``load_pickle``        a pickle of plain values and numpy arrays
``load_torch``         what ``torch.save`` wrote, tensors as numpy arrays, without importing torch
=====================  ==========================================================================
"""

import io
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.store.unpickle import STORAGES, RefusedError, Unpickler

#: What ``torch.save`` wrote at the head of a file before version 1.6.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_ZIP = b"PK\x03\x04"
#: What reading a broken pickle may raise.
_BROKEN = (
    *(ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, UnpicklingError, ValueError, zipfile.BadZipFile),
)


def read_pickled(path: Path | str, encoding: str = "latin1") -> Any:
    """Return the content of a pickle or of a torch file; see ``load_pickle`` and ``load_torch``.

    Raises:
        InputError: there is no such file, it is damaged, or it holds more than plain values.
    """
    path = Path(path)
    with _open(path) as file:
        head = file.read(32)
        file.seek(0)
        torch = head.startswith(_ZIP) or _is_legacy(head)
        return load_torch(file, path) if torch else load_pickle(file, path, encoding)


def load_pickle(file: IO[bytes], name: Path | str, encoding: str = "latin1") -> Any:
    """Read one pickle from an open file.

    Args:
        file: at the first byte of the pickle; it is left behind the last.
        name: of the file, for messages.
        encoding: of the texts that Python 2 wrote.

    Returns:
        Numbers, texts, bytes, ``None``, lists, tuples, sets, dictionaries, numpy scalars and arrays
        (of objects too) of these.

    Raises:
        InputError: it is damaged, or it asks for anything else, which is named and not run.
    """
    try:
        return Unpickler(file, encoding).load()
    except RefusedError as error:
        _refuse(name, error)
    except _BROKEN as error:
        _damaged(name, error)


def load_torch(file: IO[bytes], name: Path | str) -> Any:
    """Read what ``torch.save`` wrote, of the zip kind (since 1.6) or of the older one.

    Args:
        file: open for reading bytes, seekable.
        name: of the file, for messages.

    Returns:
        The value, with every tensor as a numpy array of its own; bfloat16 as float32.

    Raises:
        InputError: it is damaged, or it holds more than tensors and plain values.
    """
    try:
        head = file.read(4)
        file.seek(0)
        return _load_zip(file) if head == _ZIP else _load_legacy(file)
    except RefusedError as error:
        _refuse(name, error)
    except _BROKEN as error:
        _damaged(name, error)


def _load_zip(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        root = next((n.removesuffix("data.pkl") for n in names if n.endswith("data.pkl")), None)
        if root is None:
            raise ValueError("a zip file without data.pkl, not one of torch.save")
        if f"{root}byteorder" in names and _member(archive, f"{root}byteorder") != b"little":
            raise ValueError("written on a big-endian machine")
        kept: dict[tuple[str, str], NDArray[Any]] = {}

        def storage(kind: str, key: str, count: int) -> NDArray[Any]:
            if (kind, key) not in kept:
                kept[kind, key] = _elements(kind, _member(archive, f"{root}data/{key}"), count)
            return kept[kind, key]

        return Unpickler(io.BytesIO(_member(archive, f"{root}data.pkl")), storage=storage).load()


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:  # torch.save compresses nothing
        raise RefusedError("compressed data, which torch.save never writes")
    return archive.read(info)


def _load_legacy(file: IO[bytes]) -> Any:
    """The value comes before its storages: it is read once to pass over it, and once with them."""
    magic, version, system = (Unpickler(file).load() for _ in range(3))
    if magic != LEGACY_MAGIC or version != 1001 or not system.get("little_endian", True):
        raise ValueError("an unknown version of the older kind of torch file")
    start = file.tell()
    kinds: dict[str, tuple[str, int]] = {}

    def note(kind: str, key: str, count: int) -> None:
        kinds[key] = (kind, count)

    Unpickler(file, storage=note).load()
    kept = {}
    for key in Unpickler(file).load():
        kind, count = kinds[key]
        written = int.from_bytes(file.read(8), "little")
        if written != count:
            raise ValueError(f"{written} elements of storage {key}, {count} are needed")
        kept[key] = _elements(kind, file.read(count * STORAGES[kind].itemsize), count)
    file.seek(start)
    return Unpickler(file, storage=lambda kind, key, count: kept[key]).load()


def _elements(kind: str, content: bytes, count: int) -> NDArray[Any]:
    if len(content) < count * STORAGES[kind].itemsize:
        raise EOFError(f"{len(content)} bytes for {count} elements")
    values: NDArray[Any] = np.frombuffer(content, STORAGES[kind], count)
    if kind == "BFloat16Storage":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _is_legacy(head: bytes) -> bool:
    return LEGACY_MAGIC.to_bytes(10, "little") in head


def _open(path: Path) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _refuse(name: Path | str, error: Exception) -> NoReturn:
    raise InputError(
        f"{name}: holds {error}; only plain values and arrays are read, nothing else is run"
    ) from None


def _damaged(name: Path | str, error: BaseException) -> NoReturn:
    text = str(error) or type(error).__name__
    raise InputError(f"{name}: not readable ({text:.200})") from None
