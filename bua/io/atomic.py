"""Writing a file so that it is either the old one or the whole new one, also after a crash."""

import os
from pathlib import Path

from bua.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Replace the content of ``path`` at once.

    Raises:
        InputError: it is a folder.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder, the name of a file is needed")
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames in a folder last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
