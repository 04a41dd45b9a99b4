"""Helpers for the tests of foreign formats: sample regions, stores, imports and exports."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from bua.store import FeatureStore, Regions, StoreMetadata, StoreWriter
from bua.store.formats.export_store import export_store
from bua.store.formats.import_store import ImportOptions, import_store
from bua.store.formats.journal import ImportResult
from bua.store.formats.source import Source
from bua.structures.regions import OPTIONAL

CLASSES, ATTRIBUTES = ("cat", "dog", "käse"), ("red", "small")
METADATA = StoreMetadata("test", {}, "0" * 64, CLASSES, ATTRIBUTES)


def sample_regions(count: int, seed: int = 0, width: int = 11, size: tuple[int, int] = (37, 53)) -> Regions:
    """Return random valid regions with float32 features and every column."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.random((count, 2, 2), dtype=np.float32), axis=1).reshape(count, 4)
    boxes = corners * np.array([size[1], size[0]] * 2, np.float32)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 5)
    return Regions(
        (rng.standard_normal((count, width)) * 10.0 ** rng.integers(-9, 9)).astype(np.float32),
        boxes,
        size,
        class_id=rng.integers(0, len(CLASSES), count).astype(np.int32),
        class_score=(1 - rng.random(count, dtype=np.float32)),
        attribute_id=rng.integers(0, len(ATTRIBUTES), count).astype(np.int32),
        attribute_score=(1 - rng.random(count, dtype=np.float32)),
    )


def sample_grid(cells: tuple[int, int], seed: int = 0, width: int = 5) -> Regions:
    """Return random regions whose boxes are the cells of a grid."""
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(20, 400)), int(rng.integers(20, 400)))
    x = np.linspace(0, size[1], cells[1] + 1).astype(np.float32)
    y = np.linspace(0, size[0], cells[0] + 1).astype(np.float32)
    boxes = np.array([[x[c], y[r], x[c + 1], y[r + 1]] for r in range(cells[0]) for c in range(cells[1])])
    return Regions(rng.standard_normal((len(boxes), width), dtype=np.float32), boxes, size)


def write_store(
    path: Path, images: dict[Any, Regions], metadata: StoreMetadata = METADATA, dtype: str = "float32"
) -> Path:
    """Write a store in one shard."""
    with StoreWriter(path, metadata, dtype) as writer:
        writer.write(list(images.items()))
        return writer.pack(list(images))


def write_sizes(path: Path, images: dict[Any, Regions]) -> Path:
    """Write the sizes of images as a COCO JSON."""
    records = [{"id": i, "height": r.size[0], "width": r.size[1]} for i, r in images.items()]
    path.write_text(json.dumps({"images": records}))
    return path


def import_file(
    name: str, path: Path, out: Path, messages: list[str] | None = None, source: Any = None, **options: Any
) -> tuple[FeatureStore, ImportResult]:
    """Import a file with the class and attribute names of ``sample_regions``."""
    fields = {"class_names": CLASSES, "attribute_names": ATTRIBUTES, **(source or {})}
    lines = messages if messages is not None else []
    result = import_store(name, Source(path, **fields), out, ImportOptions(**options), lines.append)
    return FeatureStore(out), result


def export_file(name: str, path: Path, out: Path) -> list[str]:
    """Export a store and return the messages."""
    messages: list[str] = []
    export_store(name, path, out, messages.append)
    return messages


def identical(a: Regions, b: Regions, columns: Any = OPTIONAL) -> bool:
    """Return whether two images are bitwise identical in features, boxes, size and columns."""
    first, second = a.arrays(), b.arrays()
    names = ["features", "boxes", *columns]
    return a.size == b.size and all(
        (name in first) == (name in second)
        and (
            name not in first
            or (first[name].dtype == second[name].dtype and first[name].tobytes() == second[name].tobytes())
        )
        for name in names
    )


def to_base64(array: Any, dtype: str = "<f4") -> str:
    """Return an array as it is written in TSV files."""
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()
