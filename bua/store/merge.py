"""Merge stores with features of the same detector into one."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.store.check import check_store
from bua.store.reader import FeatureStore
from bua.store.store_file import write_store_file
from bua.store.writer import StoreWriter, remove_leftovers
from bua.structures.annotations import ImageId


@dataclass(frozen=True)
class MergeResult:
    """Summary of a merge.

    Attributes:
        images: Number of images in the merged store.
        regions: Number of regions in the merged store.
        repeated: Number of images that further stores contained as well, with equal regions.
    """

    images: int
    regions: int
    repeated: int


def merge_stores(paths: Sequence[Path], out: Path) -> MergeResult:
    """Check several stores and write their images into one, in the order of ``paths``.

    An image may be in several stores if its regions are equal in all of them.

    Args:
        paths: Stores to merge, two or more.
        out: Store to create; it appears only once it is complete.

    Raises:
        InputError: If the stores differ in detector, names, types or columns, an image differs between
            them, one of them is damaged, or ``out`` already exists.
    """
    if len(paths) < 2 or len(set(paths)) < len(paths):
        raise InputError("files=...: must name two or more different files")
    if out.exists():
        remove_leftovers(out)  # of a merge that was killed at its very end
        raise InputError(f"{out}: already exists; delete it or choose another out=")
    stores = [FeatureStore(path) for path in paths]
    for store in stores[1:]:
        _check_compatible(store, stores[0])
    for path in paths:
        if problems := check_store(path):
            raise InputError(problems[0])
    store_of, repeated = _assign_images(stores)
    first = stores[0][stores[0].image_ids[0]]
    metadata = replace(
        stores[0].metadata,
        sha256={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        origin={"merged": [path.name for path in paths]},
    )

    def gather(name: str) -> Iterator[NDArray[np.generic]]:
        return (store[image].arrays()[name] for image, store in store_of.items())

    sizes = [store[image].size for image, store in store_of.items()]
    counts = [len(store[image]) for image, store in store_of.items()]
    with StoreWriter(out, metadata, first.features.dtype.name) as writer:
        if writer.shards:
            raise InputError(
                f"{writer.folder}: belongs to an unfinished run; finish it or choose another out="
            )
        write_store_file(
            out,
            metadata,
            ids=list(store_of),
            sizes=sizes,
            counts=counts,
            columns={name: gather(name) for name in first.arrays()},
            dtype=first.features.dtype,
        )
        shutil.rmtree(writer.folder)
    return MergeResult(len(store_of), sum(counts), repeated)


def _check_compatible(store: FeatureStore, first: FeatureStore) -> None:
    """Raise ``InputError`` naming both files unless their features may be in one store."""
    properties: dict[str, Callable[[FeatureStore], Any]] = {
        "detector or its configuration differs": lambda s: s.metadata.identity,
        "class names differ": lambda s: s.metadata.class_names,
        "attribute names differ": lambda s: s.metadata.attribute_names,
        "grid differs": lambda s: s.metadata.grid,
        "feature size differs": lambda s: s.feature_size,
        "columns or dtypes differ": lambda s: {k: v.dtype for k, v in s[s.image_ids[0]].arrays().items()},
        "type of image ids differs": lambda s: type(s.image_ids[0]),
    }
    for difference, get in properties.items():
        if get(store) != get(first):
            raise InputError(f"{store.path}: {difference} from {first.path}; the stores cannot be merged")


def _assign_images(stores: Sequence[FeatureStore]) -> tuple[dict[ImageId, FeatureStore], int]:
    """Return the first store with each image, and the number of further copies of images.

    Raises:
        InputError: If the regions of an image differ between two stores.
    """
    store_of: dict[ImageId, FeatureStore] = {}
    repeated = 0
    for store in stores:
        for image in store:
            if image not in store_of:
                store_of[image] = store
                continue
            if not store[image].equals(store_of[image][image]):
                raise InputError(
                    f"{store.path}: image {image!r} has other regions than in {store_of[image].path}"
                )
            repeated += 1
    return store_of, repeated
