"""The HDF5 file of nocaps (image-feature-extractors, updown-baseline): a row an image, ragged.

``image_id`` (N,) int64, ``width`` and ``height`` (N,) float32, ``num_boxes`` (N,) int64, and of variable
length: ``boxes`` 4n, ``features`` D n and ``scores`` n float32, and ``classes`` n uint32 where boxes
were given. Older files have ``features`` as (N, n, D). Class ids are taken as they stand; those of
the given boxes are category ids of Open Images, which count from 1 (``background=first``).
"""

from collections.abc import Generator
from functools import partial
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.store.formats.export import Export, new_files
from bua.store.formats.hdf5 import dataset, identifiers, opened, optional, part
from bua.store.formats.image_ids import numbers_only
from bua.store.formats.item import InvalidImageError, Item, Raw, Source
from bua.store.formats.labels import without_background

_LABELS = {"classes": "class_id", "scores": "class_score"}


def read(source: Source) -> Generator[Item, None, None]:
    """Read a file in the order of its rows."""
    with opened(source.file()) as file:
        ids = identifiers(dataset(file, "image_id", (None,)))
        names = ("features", "boxes", "num_boxes", "height", "width", *_LABELS)
        columns = {name: optional(file, name) for name in names}
        dataset(file, "features")
        for row, name in enumerate(ids):
            where = f"{source.path.name} row {row}"
            yield Item(name, where, partial(_image, columns, row, len(ids), source))


def _image(columns: dict[str, h5py.Dataset | None], row: int, count: int, source: Source) -> Raw:
    found: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        if column is not None and len(column) != count:
            raise InvalidImageError(f"{name} has {len(column)} rows, image_id {count}")
        if column is not None:
            found[name] = part(column, row)
    features = found["features"]
    regions = int(found["num_boxes"]) if "num_boxes" in found else None
    if features.ndim == 1:
        regions = found["boxes"].size // 4 if regions is None and "boxes" in found else regions
        if regions is None or regions < 1 or features.size % regions:
            raise InvalidImageError(f"{features.size} numbers of features for {regions} regions")
        features = features.reshape(regions, -1)
    boxes = found.get("boxes")
    if boxes is not None and boxes.ndim == 1:
        if boxes.size % 4:
            raise InvalidImageError(f"boxes have {boxes.size} numbers, not 4 a region")
        boxes = boxes.reshape(-1, 4)
    size = None
    if "height" in found and "width" in found:
        size = (round(float(found["height"])), round(float(found["width"])))
    labels = {_LABELS[name]: found[name] for name in _LABELS if name in found}
    if "class_id" in labels:
        labels["class_id"] = without_background("class_id", labels["class_id"], source)
    return Raw(features, boxes, size, labels, count=regions)


def write(export: Export) -> None:
    """Write a file; class ids as the store counts them."""
    store = export.store
    ids = numbers_only(store.image_ids, "nocaps_hdf5", export.out)
    ragged = h5py.vlen_dtype(np.float32)
    labels = {foreign: name for foreign, name in _LABELS.items() if name in export.columns}
    export.reserve((store.feature_size + 4 + len(labels)) * 4 + 64)
    with new_files(export.out) as (path,), h5py.File(path, "w") as file:
        file["image_id"] = np.array(ids, np.int64)
        file["num_boxes"] = store.counts()
        boxes = file.create_dataset("boxes", (len(ids),), ragged)
        features = file.create_dataset("features", (len(ids),), ragged)
        columns = {
            foreign: file.create_dataset(
                foreign, (len(ids),), h5py.vlen_dtype(np.uint32) if foreign == "classes" else ragged
            )
            for foreign in labels
        }
        sizes = []
        for row, (_, regions) in enumerate(export.images()):
            features[row], boxes[row] = regions.features.reshape(-1), regions.boxes.reshape(-1)
            for foreign, name in labels.items():
                columns[foreign][row] = regions.arrays()[name]
            sizes.append(regions.size)
        file["height"], file["width"] = np.array(sizes, np.float32).T
