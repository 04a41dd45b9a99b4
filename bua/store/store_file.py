"""Write one complete file of the store format.

HDF5 itself writes only the few bytes that describe the file, because it crashes the process when the
disk is full; the data are written with plain file operations.
"""

import hashlib
import os
import resource
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.write import sync_folder
from bua.store.reader import open_store
from bua.store.schema import USER_BLOCK_BYTES, StoreMetadata, write_checksum
from bua.structures.annotations import ImageId


def write_store_file(
    path: Path,
    metadata: StoreMetadata,
    *,
    ids: Sequence[ImageId],
    sizes: Sequence[tuple[int, int]],
    counts: Sequence[int],
    columns: Mapping[str, Iterable[NDArray[np.generic]]],
    dtype: np.dtype[Any],
) -> None:
    """Write a store file; it appears under its name only once it is complete and verified.

    Args:
        path: File to write.
        metadata: Metadata of the file.
        ids: Image ids.
        sizes: Height and width of each image in pixels.
        counts: Number of regions of each image.
        columns: Arrays of the images in the order of ``ids``, by name of the column.
        dtype: Type of the features.

    Raises:
        InputError: If the disk is full, or features exceed the range of ``dtype``.
    """
    partial = path.with_name(f"{path.name}.partial")
    total = int(np.sum(counts))
    stop = np.cumsum(counts, dtype=np.int64)
    iterators = {name: iter(arrays) for name, arrays in columns.items()}
    first = {name: next(arrays) for name, arrays in iterators.items()}
    try:
        with h5py.File(partial, "w", userblock_size=USER_BLOCK_BYTES) as file:
            file.attrs.update(metadata.attributes())
            text = isinstance(ids[0], str)
            file.create_dataset("image_id", data=ids, dtype=h5py.string_dtype() if text else np.int64)
            file["rows"] = np.stack([stop - counts, stop], 1)
            file["size"] = np.array(sizes, np.int32)
            dtypes = {name: dtype if name == "features" else array.dtype for name, array in first.items()}
            _check_free_space(
                partial, sum(total * _row_size(first[n]) * d.itemsize for n, d in dtypes.items())
            )
            offsets = {
                name: _allocate_dataset(file, name, (total, *array.shape[1:]), dtypes[name])
                for name, array in first.items()
            }
        hashes = {}
        with open(partial, "r+b") as raw:
            for name, arrays in iterators.items():
                raw.seek(offsets[name])
                hashes[name] = _write_arrays(raw, chain([first[name]], arrays), dtypes[name], path)
        with h5py.File(partial, "r+") as file:
            file.attrs["sha256"] = replace(metadata, sha256=hashes).attributes()["sha256"]
        lengths = {name: total * _row_size(first[name]) * d.itemsize for name, d in dtypes.items()}
        write_checksum(partial, {name: (offset, lengths[name]) for name, offset in offsets.items()})
        with open_store(partial), open(partial, "rb") as raw:
            os.fsync(raw.fileno())
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    except InputError:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)
    sync_folder(path.parent)


def _write_arrays(raw: IO[bytes], arrays: Iterable[NDArray[Any]], dtype: np.dtype[Any], path: Path) -> str:
    """Write arrays one after the other and return the sha256 of the written bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        with np.errstate(over="ignore"):
            cast = np.ascontiguousarray(array, dtype)
        if dtype == np.float16 and not np.isfinite(cast).all():
            raise InputError(f"{path}: features beyond 65504 do not fit float16; set dtype=float32")
        digest.update(cast.data)
        raw.write(cast.data)
    return digest.hexdigest()


def _row_size(array: NDArray[Any]) -> int:
    """Return the number of elements per row."""
    return int(np.prod(array.shape[1:], dtype=int))


def _allocate_dataset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Allocate a contiguous dataset without writing its data and return its offset in the file."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype), space, dcpl=plan)
    return int(dataset.get_offset())


def _check_free_space(partial: Path, num_bytes: int) -> None:
    """Raise ``OSError`` if ``num_bytes`` cannot be written, before HDF5 runs into it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    needed = num_bytes + 2**20
    if limit != resource.RLIM_INFINITY and needed > limit:
        raise OSError(27, f"needs {needed:,} bytes, but files may have at most {limit:,}")
    free = shutil.disk_usage(partial.parent).free
    if free < needed + 64 * 2**20:
        raise OSError(28, f"needs {needed:,} bytes, but only {free:,} are free")
