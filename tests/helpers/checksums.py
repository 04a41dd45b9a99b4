"""Rewrite the checksum header of a file, as somebody would who modified the file on purpose."""

from pathlib import Path

import h5py

from bua.store.schema import checksummed_columns, write_checksum


def rewrite_checksum(path: Path) -> None:
    """Rewrite the checksum header of a file, if it had one and HDF5 can still open it."""
    columns = checksummed_columns(path)
    spans = {}
    try:
        with h5py.File(path) as file:
            for name in columns or ():
                is_hard_link = type(file.get(name, getlink=True)) is h5py.HardLink
                offset = file[name].id.get_offset() if is_hard_link else None
                if offset is not None and offset + file[name].nbytes <= path.stat().st_size:
                    spans[name] = (offset, file[name].nbytes)
    except OSError:
        return
    if columns is not None:
        write_checksum(path, spans)
