"""Small feature stores for tests."""

from pathlib import Path

import numpy as np

from bua.store import Regions, StoreMetadata, StoreWriter

METADATA = StoreMetadata("test", {"selection": {"min_regions": 1}}, "0" * 64)


def regions(count: int, width: int = 6, seed: int = 0, **columns: object) -> Regions:
    """Return valid random regions of an image of 50 x 50 pixels."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.random((count, 2, 2), dtype=np.float32), axis=1).reshape(count, 4)
    return Regions(
        rng.standard_normal((count, width), dtype=np.float32).astype(np.float16),
        corners * np.float32(50),
        (50, 50),
        **columns,
    )


def write_store(path: Path, images: dict[object, Regions], metadata: StoreMetadata = METADATA) -> Path:
    """Write a store in one shard."""
    with StoreWriter(path, metadata) as writer:
        writer.write(list(images.items()))
        return writer.pack(list(images))
