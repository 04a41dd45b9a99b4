"""The HDF5 file of Meshed-Memory Transformer and of Show, Control and Tell: three datasets per image.

``ID_features`` (n, D), ``ID_boxes`` (n, 4) in pixels and ``ID_cls_prob`` (n, 1601) with the background
first (aimagelab/meshed-memory-transformer data/field.py, aimagelab/show-control-and-tell
data/field.py). There are no sizes. Padded files end in rows of zeros, which are removed.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.write import atomic_files
from bua.store.formats.class_labels import best_class, one_hot_probabilities
from bua.store.formats.export import Export
from bua.store.formats.hdf5 import get_dataset, get_optional_dataset, open_hdf5, read_slice
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage

_SUFFIX = "_features"


def read(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a file in the order of the names of its datasets.

    Raises:
        InputError: If the file does not exist, is damaged or has no features.
    """
    with open_hdf5(source.file()) as file:
        names = [name.removesuffix(_SUFFIX) for name in file if name.endswith(_SUFFIX)]
        if not names:
            raise InputError(f"{source.path}: has no datasets named ID{_SUFFIX}")
        for name in names:
            yield SourceImage(
                name, f"{source.path.name} {name}{_SUFFIX}", partial(_read_image, file, name, source)
            )


def _read_image(file: h5py.File, name: str, source: Source) -> RawImage:
    try:
        features = read_slice(get_dataset(file, f"{name}{_SUFFIX}", (None, None)), ...)
        boxes = get_optional_dataset(file, f"{name}_boxes", (None, 4))
        probabilities = get_optional_dataset(file, f"{name}_cls_prob", (None, None))
    except InputError as error:  # a damaged dataset affects only one image
        raise InvalidImageError(str(error)) from None
    box_array = read_slice(boxes, ...) if boxes is not None else None
    columns = {}
    if probabilities is not None:
        columns = best_class(read_slice(probabilities, ...), source)
    count = _count_regions(features, box_array)
    return RawImage(features, box_array, None, columns, num_regions=count)


def _count_regions(features: NDArray[Any], boxes: NDArray[Any] | None) -> int:
    """Return the number of rows before the padding of zeros at the end."""
    nonzero = features.any(1)
    if boxes is not None and len(boxes) == len(features):
        nonzero = nonzero | boxes.any(1)
    rows = np.flatnonzero(nonzero)
    return int(rows[-1]) + 1 if len(rows) else 0


def write(export: Export) -> None:
    """Write a store as one file, with probabilities of 0 for all but the predicted class of a region.

    Raises:
        InputError: If an image id is not a valid name of a dataset, or the disk is full.
    """
    with_classes = {"class_id", "class_score"} <= export.columns
    classes = export.class_count() + 1 if with_classes else 0
    if with_classes:
        export.report(
            "cls_prob: the store has only the probability of the best class; the rest are written as 0"
        )
    export.check_free_space((export.store.feature_size + 4 + classes) * 4 + 3 * 1024)
    with atomic_files(export.out) as (path,), h5py.File(path, "w") as file:
        for image, regions in export.images():
            if "/" in str(image) or str(image) in ("", "."):
                raise InputError(f"{export.out}: image id {image!r} is not a valid name of a dataset")
            file[f"{image}{_SUFFIX}"] = regions.features
            file[f"{image}_boxes"] = regions.boxes
            if with_classes:
                file[f"{image}_cls_prob"] = one_hot_probabilities(regions, classes, first=1)
