"""Joining stores of one detector into one."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.store.alike import same_regions
from bua.store.check import check_store
from bua.store.reader import FeatureStore, ImageId
from bua.store.writer import StoreWriter, write_file


@dataclass(frozen=True)
class MergeResult:
    """How it went: images and regions of the result, and images that were in several stores alike."""

    images: int
    regions: int
    repeated: int


def merge_stores(paths: Sequence[Path], out: Path) -> MergeResult:
    """Write the images of several stores into one, in the order given; inputs are checked first.

    An image may be in several stores if its contents are the same in all.

    Args:
        paths: the stores, two or more.
        out: the store to make; it appears only when it is whole.

    Raises:
        InputError: they are not of one detector with the same names, types and columns; an image
            differs; one is damaged; ``out`` is there already.
    """
    if len(paths) < 2 or len(set(paths)) < len(paths):
        raise InputError("files=...: two or more different files are needed")
    if out.exists():
        raise InputError(f"{out}: is there already; delete it or give another out")
    stores = [FeatureStore(path) for path in paths]
    for store in stores[1:]:
        _require_like(store, stores[0])
    for path in paths:
        if problems := check_store(path):
            raise InputError(problems[0])
    home, repeated = _homes(stores)
    first = stores[0][stores[0].image_ids[0]]
    metadata = replace(
        stores[0].metadata,
        sha256={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        origin={"merged": [path.name for path in paths]},
    )

    def gather(name: str) -> Iterator[NDArray[np.generic]]:
        return (store[image].arrays()[name] for image, store in home.items())

    sizes = [store[image].size for image, store in home.items()]
    counts = [len(store[image]) for image, store in home.items()]
    with StoreWriter(out, metadata, first.features.dtype.name) as writer:
        if writer.shards:
            raise InputError(f"{writer.folder}: an unfinished run lies there; finish it or give another out")
        write_file(
            out,
            metadata,
            ids=list(home),
            sizes=sizes,
            counts=counts,
            columns={name: gather(name) for name in first.arrays()},
            dtype=first.features.dtype,
        )
        shutil.rmtree(writer.folder)
    return MergeResult(len(home), sum(counts), repeated)


def _require_like(store: FeatureStore, first: FeatureStore) -> None:
    """Raise ``InputError`` naming both files unless their features may stand in one."""
    kinds: dict[str, Callable[[FeatureStore], Any]] = {
        "features of another detector": lambda s: s.metadata.identity,
        "other class names": lambda s: s.metadata.class_names,
        "other attribute names": lambda s: s.metadata.attribute_names,
        "another grid": lambda s: s.metadata.grid,
        "features of another width": lambda s: s.feature_size,
        "other columns or types": lambda s: {k: v.dtype for k, v in s[s.image_ids[0]].arrays().items()},
        "ids of another kind": lambda s: type(s.image_ids[0]),
    }
    for what, of in kinds.items():
        if of(store) != of(first):
            raise InputError(f"{store.path}: {what} than {first.path}; they cannot be joined")


def _homes(stores: Sequence[FeatureStore]) -> tuple[dict[ImageId, FeatureStore], int]:
    """Return the store of each image, the first that has it, and how many others have them too."""
    home: dict[ImageId, FeatureStore] = {}
    repeated = 0
    for store in stores:
        for image in store:
            if image not in home:
                home[image] = store
                continue
            if not same_regions(store[image], home[image][image]):
                raise InputError(
                    f"{store.path}: image {image!r} is in {home[image].path} too, with other contents"
                )
            repeated += 1
    return home, repeated
