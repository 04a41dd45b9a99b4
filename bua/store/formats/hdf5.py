"""Read untrusted HDF5 files without following links to other files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.store.formats.source import InvalidImageError

#: Cache of uncompressed chunks, which the next image may need as well.
_CHUNK_CACHE_BYTES = 2**26
#: Errors that h5py may raise for a damaged file.
_READ_ERRORS = (OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError)


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading.

    Raises:
        InputError: If the file is not HDF5 or is damaged, also while it is read in the ``with`` block.
    """
    try:
        file = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES)
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({error})") from None
    try:
        yield file
    except InputError:
        raise
    except _READ_ERRORS as error:
        raise InputError(f"{path}: damaged HDF5 file ({error})") from None
    finally:
        file.close()


def get_dataset(file: h5py.File, name: str, shape: tuple[int | None, ...] | None = None) -> h5py.Dataset:
    """Return a dataset whose data are all in this file.

    Args:
        file: Open file.
        name: Name of the dataset.
        shape: Required shape, with ``None`` for a dimension of any size; by default any shape.

    Raises:
        InputError: If the dataset is missing, is a link or stores its data in another file, declares more
            data than is stored, or has another shape.
    """
    path = file.filename
    if name not in file:
        raise InputError(f"{path}: dataset {name} is missing; the file has {list(file)[:9]}")
    if type(file.get(name, getlink=True)) is not h5py.HardLink:
        raise InputError(f"{path}: {name} is a link; links are not followed")
    try:
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"{path}: {name} is a group, but must be a dataset")
        if dataset.external or dataset.is_virtual:
            raise InputError(f"{path}: {name} stores its data in another file, which is not read")
        stored, declared, actual = dataset.id.get_storage_size(), dataset.nbytes, dataset.shape
    except InputError:
        raise
    except _READ_ERRORS as error:
        raise InputError(f"{path}: {name} is damaged ({error})") from None
    if declared and (stored == 0 or (dataset.chunks is None and declared > stored)):
        raise InputError(f"{path}: {name} has shape {actual}, more than the file stores")
    if shape is not None:
        same_rank = actual is not None and len(actual) == len(shape)
        if not same_rank or any(n not in (None, m) for n, m in zip(shape, actual, strict=True)):
            expected = tuple("any" if n is None else n for n in shape)
            raise InputError(f"{path}: {name} must have shape {expected}, got {actual}")
    return dataset


def get_optional_dataset(
    file: h5py.File, name: str, shape: tuple[int | None, ...] | None = None
) -> h5py.Dataset | None:
    """Return a dataset like ``get_dataset``, or ``None`` if it is missing."""
    return get_dataset(file, name, shape) if name in file else None


def read_slice(source: h5py.Dataset, selection: Any) -> NDArray[Any]:
    """Read a selection of a dataset.

    Raises:
        InvalidImageError: If it cannot be read, for example because a compressed chunk is damaged.
    """
    try:
        return np.asarray(source[selection])
    except _READ_ERRORS as error:
        raise InvalidImageError(f"{source.name.lstrip('/')} cannot be read ({error})") from None


def read_ids(source: h5py.Dataset) -> list[int | str]:
    """Return a dataset of ids, which are integers or strings.

    Raises:
        InputError: If they are neither.
    """
    kind = source.dtype.kind
    if kind not in "iuOS" or (kind == "O" and h5py.check_string_dtype(source.dtype) is None):
        raise InputError(
            f"{source.file.filename}: {source.name} must be integers or strings, got {source.dtype}"
        )
    values = source[:] if kind in "iu" else source.asstr()[:]
    return list(values.tolist())
