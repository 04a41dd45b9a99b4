"""Opening HDF5 files of others: nothing that they point to elsewhere is followed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.store.formats.item import InvalidImageError

#: Of uncompressed chunks, kept for the next image.
_CACHE = 2**26
#: What h5py may raise over a damaged file.
_DAMAGED = (OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading.

    Raises:
        InputError: it is not HDF5, or damaged.
    """
    try:
        file = h5py.File(path, "r", rdcc_nbytes=_CACHE)
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({error})") from None
    try:
        yield file
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{path}: damaged HDF5 file ({error})") from None
    finally:
        file.close()


def dataset(file: h5py.File, name: str, shape: tuple[int | None, ...] | None = None) -> h5py.Dataset:
    """Return a dataset whose data are all in this file.

    Args:
        file: open.
        name: of the dataset.
        shape: that it must have; ``None`` for any size.

    Raises:
        InputError: there is none, it is a link or keeps its data elsewhere, it claims more than is
            stored, or has another shape.
    """
    path = file.filename
    if name not in file:
        raise InputError(f"{path}: there is no dataset {name}; it has {list(file)[:9]}")
    if type(file.get(name, getlink=True)) is not h5py.HardLink:
        raise InputError(f"{path}: {name} is a link to elsewhere; it is not followed")
    try:
        found = file[name]
        if not isinstance(found, h5py.Dataset):
            raise InputError(f"{path}: {name} is a group, a dataset is needed")
        if found.external or found.is_virtual:
            raise InputError(f"{path}: {name} keeps its data in another file; it is not read")
        stored, claimed, there = found.id.get_storage_size(), found.nbytes, found.shape
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{path}: {name} is damaged ({error})") from None
    if claimed and (stored == 0 or (found.chunks is None and claimed > stored)):
        raise InputError(f"{path}: {name} claims {there}, more than the file stores")
    if shape is not None:
        fits = there is not None and len(there) == len(shape)
        if not fits or any(n not in (None, m) for n, m in zip(shape, there, strict=True)):
            wanted = tuple("any" if n is None else n for n in shape)
            raise InputError(f"{path}: {name} is {there}, {wanted} is needed")
    return found


def optional(file: h5py.File, name: str, shape: tuple[int | None, ...] | None = None) -> h5py.Dataset | None:
    """Return a dataset as ``dataset`` does, or ``None`` where there is none."""
    return dataset(file, name, shape) if name in file else None


def part(source: h5py.Dataset, where: Any) -> NDArray[Any]:
    """Read a part of a dataset.

    Raises:
        InvalidImageError: it cannot be read, as where a compressed chunk is damaged.
    """
    try:
        return np.asarray(source[where])
    except _DAMAGED as error:
        raise InvalidImageError(f"{source.name.lstrip('/')} cannot be read ({error})") from None


def identifiers(source: h5py.Dataset) -> list[int | str]:
    """Return a column of ids, whole numbers or texts.

    Raises:
        InputError: they are neither.
    """
    kind = source.dtype.kind
    if kind not in "iuOS" or (kind == "O" and h5py.check_string_dtype(source.dtype) is None):
        raise InputError(f"{source.file.filename}: {source.name} is of {source.dtype}, not of ids")
    values = source[:] if kind in "iu" else source.asstr()[:]
    return list(values.tolist())
