"""Common parts of the writers of foreign formats: their input, and output that appears only when complete."""

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
from bua.io.files import sync_folder
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId
from bua.structures.regions import Regions


@dataclass(frozen=True)
class Export:
    """A store to be written in a foreign format.

    Attributes:
        store: Store to write.
        out: File or folder to create.
        report: Called with a line for the user.
    """

    store: FeatureStore
    out: Path
    report: Callable[[str], None]

    @property
    def columns(self) -> frozenset[str]:
        """Return the names of the columns of the store."""
        return frozenset(self.store[self.store.image_ids[0]].arrays())

    def images(self) -> Iterator[tuple[ImageId, Regions]]:
        """Yield image ids and regions in the order of the store, as copies with float32 features."""
        for image in self.store:
            regions = self.store[image]
            arrays: dict[str, Any] = {name: np.array(array) for name, array in regions.arrays().items()}
            arrays["features"] = arrays["features"].astype(np.float32, copy=False)
            yield image, replace(regions, **arrays)

    def class_count(self) -> int:
        """Return the number of class names, or else one more than the largest class id; no background."""
        if self.store.metadata.class_names:
            return len(self.store.metadata.class_names)
        class_ids = (self.store[image].class_id for image in self.store)
        return max((int(ids.max()) + 1 for ids in class_ids if ids is not None), default=0)

    def check_free_space(self, row_bytes: float) -> None:
        """Check that the disk has room for the export.

        Args:
            row_bytes: Size of a region in the format, in bytes.

        Raises:
            InputError: If the export would not fit on the disk of ``out`` or exceed the limit of a file.
        """
        needed = int(self.store.counts().sum() * row_bytes) + 2**20
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        free = shutil.disk_usage(self.out.parent).free
        allowed = free if limit == resource.RLIM_INFINITY else min(free, limit)
        if needed + 2**20 > allowed:
            raise InputError(f"{self.out}: needs about {needed:,} bytes, but only {allowed:,} can be written")


@contextlib.contextmanager
def atomic_files(*outs: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary path for each file or folder; at the end, sync them and rename the first one last.

    Raises:
        InputError: If they cannot be written.
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
def atomic_folders(*outs: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary folder for each folder; otherwise like ``atomic_files``."""
    with atomic_files(*outs) as partials:
        for partial in partials:
            partial.mkdir()
        yield partials


def path_below(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder, after creating the subfolders in its name."""
    path = folder / name
    if "/" in name:
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _sync(paths: tuple[Path, ...]) -> None:
    if any(path.is_dir() for path in paths):
        os.sync()  # one call, whatever the number of files
        return
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
