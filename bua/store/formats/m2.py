"""The HDF5 file of Meshed-Memory Transformer and of Show, Control and Tell: datasets of each image.

``ID_features`` (n, D), ``ID_boxes`` (n, 4) in pixels and ``ID_cls_prob`` (n, 1601), the background
first (aimagelab/meshed-memory-transformer data/field.py, aimagelab/show-control-and-tell
data/field.py). No sizes. Padded copies end in rows of zeros, which are cut.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.store.formats.export import Export, new_files
from bua.store.formats.hdf5 import dataset, opened, optional, part
from bua.store.formats.item import InvalidImageError, Item, Raw, Source
from bua.store.formats.labels import best_class, one_hot

_ENDING = "_features"


def read(source: Source) -> Generator[Item, None, None]:
    """Read a file in the order of the names of its datasets."""
    with opened(source.file()) as file:
        names = [name.removesuffix(_ENDING) for name in file if name.endswith(_ENDING)]
        if not names:
            raise InputError(f"{source.path}: there are no datasets named ID{_ENDING}")
        for name in names:
            yield Item(name, f"{source.path.name} {name}{_ENDING}", partial(_image, file, name, source))


def _image(file: h5py.File, name: str, source: Source) -> Raw:
    try:
        features = part(dataset(file, f"{name}{_ENDING}", (None, None)), ...)
        boxes = optional(file, f"{name}_boxes", (None, 4))
        probabilities = optional(file, f"{name}_cls_prob", (None, None))
    except InputError as error:  # a dataset is one image here, not all
        raise InvalidImageError(str(error)) from None
    places = part(boxes, ...) if boxes is not None else None
    columns = {}
    if probabilities is not None:
        columns = best_class(part(probabilities, ...), source)
    count = _real(features, places)
    return Raw(features, places, None, columns, count=count)


def _real(features: NDArray[Any], boxes: NDArray[Any] | None) -> int:
    """Return the number of rows without the zeros at the end."""
    filled = features.any(1)
    if boxes is not None and len(boxes) == len(features):
        filled = filled | boxes.any(1)
    last = np.flatnonzero(filled)
    return int(last[-1]) + 1 if len(last) else 0


def write(export: Export) -> None:
    """Write a file; of the class probabilities only the best is known, the others are written as 0."""
    with_classes = {"class_id", "class_score"} <= export.columns
    classes = export.class_count() + 1 if with_classes else 0
    if with_classes:
        export.report(
            "cls_prob: only the probability of the best class is known, the others are written as 0"
        )
    export.reserve((export.store.feature_size + 4 + classes) * 4 + 3 * 1024)
    with new_files(export.out) as (path,), h5py.File(path, "w") as file:
        for image, regions in export.images():
            if "/" in str(image) or str(image) in ("", "."):
                raise InputError(f"{export.out}: image id {image!r} cannot be the name of a dataset")
            file[f"{image}{_ENDING}"] = regions.features
            file[f"{image}_boxes"] = regions.boxes
            if with_classes:
                file[f"{image}_cls_prob"] = one_hot(regions, classes, first=1)
