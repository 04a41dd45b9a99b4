"""The HDF5 file of vqa-counting (vqa-v2/preprocess-features.py), also used by descendants of it.

``ids`` (N,) int32, ``features`` (N, D, K) and ``boxes`` (N, 4, K) float32, both turned over and filled
up with zeros to K regions, ``widths`` and ``heights`` (N,) int32. Some descendants add ``num_boxes``
(N,); where it is missing, regions whose features and box are all zero at the end are taken as filling.
Rows at the end of the file that were never filled have no regions.
"""

from collections.abc import Generator
from functools import partial

import h5py
import numpy as np

from bua.store.formats.export import Export, new_files
from bua.store.formats.hdf5 import dataset, identifiers, opened, optional, part
from bua.store.formats.image_ids import numbers_only
from bua.store.formats.item import Item, Raw, Source


def read(source: Source) -> Generator[Item, None, None]:
    """Read a file in the order of its rows."""
    with opened(source.file()) as file:
        ids = identifiers(dataset(file, "ids", (None,)))
        features = dataset(file, "features", (len(ids), None, None))
        boxes = dataset(file, "boxes", (len(ids), 4, features.shape[2]))
        sizes = [optional(file, name, (len(ids),)) for name in ("heights", "widths")]
        known = [side[:].astype(int).tolist() for side in sizes if side is not None]
        counts = optional(file, "num_boxes", (len(ids),))
        real = counts[:].astype(int).tolist() if counts is not None else None
        for row, name in enumerate(ids):
            size = (known[0][row], known[1][row]) if len(known) == 2 else None
            count = real[row] if real is not None else None
            where = f"{source.path.name} row {row}"
            yield Item(name, where, partial(_image, features, boxes, size, count, row))


def _image(
    features: h5py.Dataset, boxes: h5py.Dataset, size: tuple[int, int] | None, count: int | None, row: int
) -> Raw:
    rows, places = part(features, row).T, part(boxes, row).T
    if count is None:
        filled = np.flatnonzero(rows.any(1) | places.any(1))
        count = int(filled[-1]) + 1 if len(filled) else 0
    return Raw(np.ascontiguousarray(rows), np.ascontiguousarray(places), size, count=count)


def write(export: Export) -> None:
    """Write a file, with ``num_boxes``."""
    store = export.store
    ids = numbers_only(store.image_ids, "vqa_counting_hdf5", export.out)
    counts = store.counts()
    most = int(counts.max())
    export.reserve((store.feature_size + 4) * 4 * most * len(ids) / int(counts.sum()))
    with new_files(export.out) as (path,), h5py.File(path, "w") as file:
        file["ids"] = np.array(ids, np.int32 if max(map(abs, ids)) < 2**31 else np.int64)
        file["num_boxes"] = counts
        features = file.create_dataset("features", (len(ids), store.feature_size, most), np.float32)
        boxes = file.create_dataset("boxes", (len(ids), 4, most), np.float32)
        sizes = []
        for row, (_, regions) in enumerate(export.images()):
            filled = np.zeros((store.feature_size + 4, most), np.float32)
            filled[:-4, : len(regions)] = regions.features.T
            filled[-4:, : len(regions)] = regions.boxes.T
            features[row], boxes[row] = filled[:-4], filled[-4:]
            sizes.append(regions.size)
        file["heights"], file["widths"] = np.array(sizes, np.int32).T
