"""What every writer of a foreign format shares: its input, and files that appear only when whole."""

import contextlib
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bua.errors import InputError
from bua.io.atomic import sync_folder
from bua.store.reader import FeatureStore, ImageId
from bua.structures.regions import Regions


@dataclass(frozen=True)
class Export:
    """A store to write in a foreign format.

    Attributes:
        store: what to write.
        out: file or folder to make.
        report: takes a line for the user.
    """

    store: FeatureStore
    out: Path
    report: Callable[[str], None]

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns of the store."""
        return frozenset(self.store[self.store.image_ids[0]].arrays())

    def images(self) -> Iterator[tuple[ImageId, Regions]]:
        """Yield ids and regions in the order of the store, features as float32, arrays of their own."""
        for image in self.store:
            regions = self.store[image]
            arrays: dict[str, Any] = {name: np.array(array) for name, array in regions.arrays().items()}
            arrays["features"] = arrays["features"].astype(np.float32, copy=False)
            yield image, replace(regions, **arrays)

    def class_count(self) -> int:
        """Return the number of classes, background not counted: of names, or as far as ids go."""
        if self.store.metadata.class_names:
            return len(self.store.metadata.class_names)
        ids = (self.store[image].class_id for image in self.store)
        return max((int(found.max()) + 1 for found in ids if found is not None), default=0)

    def reserve(self, row_bytes: float) -> None:
        """Raise ``InputError`` unless so many bytes a region can be written beside ``out``."""
        needed = int(self.store.counts().sum() * row_bytes) + 2**20
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        free = shutil.disk_usage(self.out.parent).free
        allowed = free if limit == resource.RLIM_INFINITY else min(free, limit)
        if needed + 2**20 > allowed:
            raise InputError(f"{self.out}: needs about {needed:,} bytes, {allowed:,} can be written there")


@contextlib.contextmanager
def new_files(*outs: Path) -> Iterator[tuple[Path, ...]]:
    """Give a place to write for each file or folder; when done, sync and rename, the first one last.

    Raises:
        InputError: they cannot be written.
    """
    partials = tuple(out.with_name(f"{out.name}.partial") for out in outs)
    try:
        for out, partial in zip(outs, partials, strict=True):
            out.parent.mkdir(parents=True, exist_ok=True)
            _remove(partial)
        yield partials
        _sync(partials)
        for out, partial in reversed(list(zip(outs, partials, strict=True))):
            os.replace(partial, out)
        for folder in {out.parent for out in outs}:
            sync_folder(folder)
    except OSError as error:
        for partial in partials:
            _remove(partial)
        raise InputError(f"{outs[0]}: cannot be written ({error.strerror or error})") from None
    except BaseException:
        for partial in partials:
            _remove(partial)
        raise


@contextlib.contextmanager
def new_folders(*outs: Path) -> Iterator[tuple[Path, ...]]:
    """Like ``new_files`` for folders, which are there to write into."""
    with new_files(*outs) as partials:
        for partial in partials:
            partial.mkdir()
        yield partials


def below(folder: Path, name: str) -> Path:
    """Return the path of a file of a folder, its own folder made."""
    path = folder / name
    if "/" in name:
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _sync(paths: tuple[Path, ...]) -> None:
    if any(path.is_dir() for path in paths):
        os.sync()  # one call for any number of files
        return
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
