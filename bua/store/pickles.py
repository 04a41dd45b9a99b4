"""Read pickles and torch files from untrusted sources without executing anything in them.

=====================  ==========================================================================
``read_pickled(path)`` a pickle or a torch file, recognized by its content
``load_pickle``        a pickle of plain values and numpy arrays
``load_torch``         a file of ``torch.save``, tensors as numpy arrays, without importing torch
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
from bua.store.unpickle import STORAGES, SafeUnpickler, UnsafePickleError

#: First value that ``torch.save`` wrote to a file before version 1.6.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_ZIP_MAGIC = b"PK\x03\x04"
#: Errors that reading a damaged pickle may raise.
_READ_ERRORS = (
    *(ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, UnpicklingError, ValueError, zipfile.BadZipFile),
)


def read_pickled(path: Path | str, encoding: str = "latin1") -> Any:
    """Return the content of a pickle or of a torch file; see ``load_pickle`` and ``load_torch``.

    Args:
        path: File to read.
        encoding: Encoding of strings that Python 2 wrote.

    Raises:
        InputError: If the file does not exist, is damaged, or holds more than plain values and arrays.
    """
    path = Path(path)
    with _open(path) as file:
        head = file.read(32)
        file.seek(0)
        is_torch = head.startswith(_ZIP_MAGIC) or _is_legacy(head)
        return load_torch(file, path) if is_torch else load_pickle(file, path, encoding)


def load_pickle(file: IO[bytes], name: Path | str, encoding: str = "latin1") -> Any:
    """Read one pickle from an open file.

    Args:
        file: Open file, positioned at the first byte of the pickle; afterwards it is after the last.
        name: Name of the file, for messages.
        encoding: Encoding of strings that Python 2 wrote.

    Returns:
        Numbers, strings, bytes, ``None``, and lists, tuples, sets, dictionaries, numpy scalars and
        arrays of these, including object arrays.

    Raises:
        InputError: If the pickle is damaged, or needs any other function or class, which is named and
            not called.
    """
    try:
        return SafeUnpickler(file, encoding).load()
    except UnsafePickleError as error:
        _raise_unsafe(name, error)
    except _READ_ERRORS as error:
        _raise_damaged(name, error)


def load_torch(file: IO[bytes], name: Path | str) -> Any:
    """Read a file of ``torch.save``, in the zip format (since version 1.6) or the legacy format.

    Args:
        file: Seekable file, open for reading bytes.
        name: Name of the file, for messages.

    Returns:
        The saved value, with every tensor as a separate numpy array; bfloat16 as float32.

    Raises:
        InputError: If the file is damaged, or holds more than tensors and plain values.
    """
    try:
        head = file.read(4)
        file.seek(0)
        return _load_zip(file) if head == _ZIP_MAGIC else _load_legacy(file)
    except UnsafePickleError as error:
        _raise_unsafe(name, error)
    except _READ_ERRORS as error:
        _raise_damaged(name, error)


def _load_zip(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        root = next((n.removesuffix("data.pkl") for n in names if n.endswith("data.pkl")), None)
        if root is None:
            raise ValueError("a zip file without data.pkl, not written by torch.save")
        if f"{root}byteorder" in names and _read_member(archive, f"{root}byteorder") != b"little":
            raise ValueError("written on a big-endian machine")
        storages: dict[tuple[str, str], NDArray[Any]] = {}

        def storage(storage_type: str, key: str, count: int) -> NDArray[Any]:
            if (storage_type, key) not in storages:
                storages[storage_type, key] = _read_elements(
                    storage_type, _read_member(archive, f"{root}data/{key}"), count
                )
            return storages[storage_type, key]

        return SafeUnpickler(io.BytesIO(_read_member(archive, f"{root}data.pkl")), storage=storage).load()


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:  # torch.save compresses nothing
        raise UnsafePickleError("compressed data, which torch.save never writes")
    return archive.read(info)


def _load_legacy(file: IO[bytes]) -> Any:
    """Read the legacy format, in which the pickled value precedes the storages of its tensors.

    The value is unpickled twice: once to find its storages and the end of the pickle, and once with them.
    """
    magic, version, system = (SafeUnpickler(file).load() for _ in range(3))
    if magic != LEGACY_MAGIC or version != 1001 or not system.get("little_endian", True):
        raise ValueError("an unknown version of the legacy torch format")
    start = file.tell()
    declared: dict[str, tuple[str, int]] = {}

    def record(storage_type: str, key: str, count: int) -> None:
        declared[key] = (storage_type, count)

    SafeUnpickler(file, storage=record).load()
    storages = {}
    for key in SafeUnpickler(file).load():
        storage_type, count = declared[key]
        written = int.from_bytes(file.read(8), "little")
        if written != count:
            raise ValueError(f"storage {key} must have {count} elements, got {written}")
        storages[key] = _read_elements(
            storage_type, file.read(count * STORAGES[storage_type].itemsize), count
        )
    file.seek(start)
    return SafeUnpickler(file, storage=lambda storage_type, key, count: storages[key]).load()


def _read_elements(storage_type: str, content: bytes, count: int) -> NDArray[Any]:
    if len(content) < count * STORAGES[storage_type].itemsize:
        raise EOFError(f"only {len(content)} bytes for {count} elements")
    values: NDArray[Any] = np.frombuffer(content, STORAGES[storage_type], count)
    if storage_type == "BFloat16Storage":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _is_legacy(head: bytes) -> bool:
    return LEGACY_MAGIC.to_bytes(10, "little") in head


def _open(path: Path) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _raise_unsafe(name: Path | str, error: Exception) -> NoReturn:
    raise InputError(
        f"{name}: contains {error}; only plain values and arrays are read, nothing else is executed"
    ) from None


def _raise_damaged(name: Path | str, error: BaseException) -> NoReturn:
    reason = str(error) or type(error).__name__
    raise InputError(f"{name}: not readable ({reason:.200})") from None
