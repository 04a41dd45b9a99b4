"""The files of a folder and its subfolders, as every command that takes a folder lists them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Folder that macOS puts into zip archives, with a companion of every file.
_COMPANIONS = "__MACOSX"


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder.

    Attributes:
        files: Files in the folder and its subfolders, also linked ones, in the order of their paths.
        num_hidden: Number of files and folders that were passed over because their name begins with a dot,
            such as ``._photo.jpg`` of macOS and ``.ipynb_checkpoints``, or is ``__MACOSX``.
    """

    files: list[Path]
    num_hidden: int


def list_folder(folder: Path) -> FolderFiles:
    """List the files of a folder. Links to folders are followed, except back to a folder they are in."""
    hidden: list[Path] = []
    files = sorted(_walk(folder, (), hidden))
    return FolderFiles(files, len(hidden))


def _walk(folder: Path, parents: tuple[str, ...], hidden: list[Path]) -> Iterator[Path]:
    """Yield the files below a folder, and append what is hidden; ``parents`` are the real paths above it."""
    real = os.path.realpath(folder)
    if real in parents:
        return
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == _COMPANIONS:
            hidden.append(path)
        elif path.is_dir():
            yield from _walk(path, (*parents, real), hidden)
        elif path.is_file():
            yield path
