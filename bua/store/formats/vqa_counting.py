"""The HDF5 file of vqa-counting (vqa-v2/preprocess-features.py) and its descendants.

``ids`` (N,) int32, ``features`` (N, D, K) and ``boxes`` (N, 4, K) float32, both transposed and padded with
zeros to K regions, ``widths`` and ``heights`` (N,) int32. Some descendants add ``num_boxes`` (N,); without
it, regions at the end whose features and box are all zero are treated as padding. Unused rows at the end
of the file have no regions.
"""

from collections.abc import Generator
from functools import partial

import h5py
import numpy as np

from bua.io.write import atomic_files
from bua.store.formats.export import Export
from bua.store.formats.hdf5 import get_dataset, get_optional_dataset, open_hdf5, read_ids, read_slice
from bua.store.formats.image_ids import require_numeric_ids
from bua.store.formats.source import RawImage, Source, SourceImage


def read(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a file in the order of its rows.

    Raises:
        InputError: If the file does not exist, is damaged or lacks a dataset.
    """
    with open_hdf5(source.file()) as file:
        ids = read_ids(get_dataset(file, "ids", (None,)))
        features = get_dataset(file, "features", (len(ids), None, None))
        boxes = get_dataset(file, "boxes", (len(ids), 4, features.shape[2]))
        datasets = [get_optional_dataset(file, name, (len(ids),)) for name in ("heights", "widths")]
        sides = [side[:].astype(int).tolist() for side in datasets if side is not None]
        num_boxes = get_optional_dataset(file, "num_boxes", (len(ids),))
        counts = num_boxes[:].astype(int).tolist() if num_boxes is not None else None
        for row, name in enumerate(ids):
            size = (sides[0][row], sides[1][row]) if len(sides) == 2 else None
            count = counts[row] if counts is not None else None
            location = f"{source.path.name} row {row}"
            yield SourceImage(name, location, partial(_read_image, features, boxes, size, count, row))


def _read_image(
    features: h5py.Dataset, boxes: h5py.Dataset, size: tuple[int, int] | None, count: int | None, row: int
) -> RawImage:
    vectors, corners = read_slice(features, row).T, read_slice(boxes, row).T
    if count is None:
        nonzero = np.flatnonzero(vectors.any(1) | corners.any(1))
        count = int(nonzero[-1]) + 1 if len(nonzero) else 0
    return RawImage(np.ascontiguousarray(vectors), np.ascontiguousarray(corners), size, num_regions=count)


def write(export: Export) -> None:
    """Write a store as one file, with ``num_boxes``.

    Raises:
        InputError: If an image id is a string, or the disk is full.
    """
    store = export.store
    ids = require_numeric_ids(store.image_ids, "vqa_counting_hdf5", export.out)
    counts = store.counts()
    max_regions = int(counts.max())
    export.check_free_space((store.feature_size + 4) * 4 * max_regions * len(ids) / int(counts.sum()))
    with atomic_files(export.out) as (path,), h5py.File(path, "w") as file:
        file["ids"] = np.array(ids, np.int32 if max(map(abs, ids)) < 2**31 else np.int64)
        file["num_boxes"] = counts
        features = file.create_dataset("features", (len(ids), store.feature_size, max_regions), np.float32)
        boxes = file.create_dataset("boxes", (len(ids), 4, max_regions), np.float32)
        sizes = []
        for row, (_, regions) in enumerate(export.images()):
            padded = np.zeros((store.feature_size + 4, max_regions), np.float32)
            padded[:-4, : len(regions)] = regions.features.T
            padded[-4:, : len(regions)] = regions.boxes.T
            features[row], boxes[row] = padded[:-4], padded[-4:]
            sizes.append(regions.size)
        file["heights"], file["widths"] = np.array(sizes, np.int32).T
