"""The HDF5 file of nocaps (image-feature-extractors, updown-baseline): a ragged row per image.

``image_id`` (N,) int64, ``width`` and ``height`` (N,) float32, ``num_boxes`` (N,) int64, and rows of
variable length: ``boxes`` of 4 n, ``features`` of D n and ``scores`` of n float32, and, if the extractor
was given boxes, ``classes`` of n uint32. Older files have ``features`` of shape (N, n, D). Class ids are
unchanged by default; those of given boxes are Open Images categories, which count from 1 and need
``background=first``.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.io.write import atomic_files
from bua.store.formats.class_labels import remove_background
from bua.store.formats.export import Export
from bua.store.formats.hdf5 import get_dataset, get_optional_dataset, open_hdf5, read_ids, read_slice
from bua.store.formats.image_ids import require_numeric_ids
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage

_LABELS = {"classes": "class_id", "scores": "class_score"}


def read(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a file in the order of its rows.

    Raises:
        InputError: If the file does not exist, is damaged or lacks a dataset.
    """
    with open_hdf5(source.file()) as file:
        ids = read_ids(get_dataset(file, "image_id", (None,)))
        names = ("features", "boxes", "num_boxes", "height", "width", *_LABELS)
        columns = {name: get_optional_dataset(file, name) for name in names}
        get_dataset(file, "features")
        for row, name in enumerate(ids):
            location = f"{source.path.name} row {row}"
            yield SourceImage(name, location, partial(_read_image, columns, row, len(ids), source))


def _read_image(columns: dict[str, h5py.Dataset | None], row: int, count: int, source: Source) -> RawImage:
    values: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        if column is not None and len(column) != count:
            raise InvalidImageError(f"{name} has {len(column)} rows, but image_id has {count}")
        if column is not None:
            values[name] = read_slice(column, row)
    features = values["features"]
    regions = int(values["num_boxes"]) if "num_boxes" in values else None
    if features.ndim == 1:
        regions = values["boxes"].size // 4 if regions is None and "boxes" in values else regions
        if regions is None or regions < 1 or features.size % regions:
            raise InvalidImageError(f"{features.size} feature values do not divide into {regions} regions")
        features = features.reshape(regions, -1)
    boxes = values.get("boxes")
    if boxes is not None and boxes.ndim == 1:
        if boxes.size % 4:
            raise InvalidImageError(f"boxes must have 4 numbers per region, got {boxes.size} numbers")
        boxes = boxes.reshape(-1, 4)
    size = None
    if "height" in values and "width" in values:
        size = (round(float(values["height"])), round(float(values["width"])))
    labels = {_LABELS[name]: values[name] for name in _LABELS if name in values}
    if "class_id" in labels:
        labels["class_id"] = remove_background("class_id", labels["class_id"], source)
    return RawImage(features, boxes, size, labels, num_regions=regions)


def write(export: Export) -> None:
    """Write a store as one file, with the class ids of the store.

    Raises:
        InputError: If an image id is a string, or the disk is full.
    """
    store = export.store
    ids = require_numeric_ids(store.image_ids, "nocaps_hdf5", export.out)
    ragged = h5py.vlen_dtype(np.float32)
    labels = {foreign: name for foreign, name in _LABELS.items() if name in export.columns}
    export.check_free_space((store.feature_size + 4 + len(labels)) * 4 + 64)
    with atomic_files(export.out) as (path,), h5py.File(path, "w") as file:
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
