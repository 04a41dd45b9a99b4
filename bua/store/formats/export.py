"""Common parts of the writers of foreign formats."""

import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bua.errors import InputError
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


def path_below(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder, after creating the subfolders in its name."""
    path = folder / name
    if "/" in name:
        path.parent.mkdir(parents=True, exist_ok=True)
    return path
