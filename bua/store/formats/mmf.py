"""The features of mmf (pythia): two ``.npy`` files an image. ``mmf_lmdb`` has all images in one file.

tools/scripts/features/extract_features_vmb.py: ``NAME.npy`` (n, D) and ``NAME_info.npy``, a pickled
dictionary with ``bbox`` (n, 4) in pixels, ``num_boxes``, ``objects`` (n,), ``cls_prob`` (n, C),
``image_width`` and ``image_height``. With its ``--background``, ``objects`` and ``cls_prob`` count the
background first: told here by a column more than names, or 1,601 columns. ``num_boxes`` counts
regions with a score above 0; mmf reads all rows, and so does this.
"""

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bua.errors import InputError
from bua.store.formats.arrays import mapping, members, number, numbers, read_npy
from bua.store.formats.export import Export, below, new_folders
from bua.store.formats.image_ids import file_name
from bua.store.formats.item import InvalidImageError, Item, Raw, Source
from bua.store.formats.labels import best_class, counted, one_hot, without_background
from bua.structures.regions import Regions

_INFO = "_info"


def read(source: Source) -> Generator[Item, None, None]:
    """Read a folder of pairs of files."""
    found = [(name, path) for name, path in members(source.folder(), ".npy") if not name.endswith(_INFO)]
    if not found:
        raise InputError(f"{source.path}: there are no .npy files in it")
    for name, path in found:
        where = path.relative_to(source.path).as_posix()
        yield Item(name, where, partial(_pair, path, source))


def _pair(path: Path, source: Source) -> Raw:
    beside = path.with_name(f"{path.name.removesuffix('.npy')}{_INFO}.npy")
    info = mapping(read_npy(beside), beside.name) if beside.exists() else {}
    return image_of(read_npy(path), info, source)


def image_of(features: Any, info: dict[str, Any], source: Source) -> Raw:
    """Return an image from its features and what is noted beside them, or raise ``InvalidImageError``."""
    features = numbers(features, "features")
    if features.ndim > 2:  # (1, n, D), and grids with features last
        features = features.reshape(-1, features.shape[-1])
    boxes = info.get("bbox")
    size = None
    if info.get("image_height") is not None and info.get("image_width") is not None:
        size = (number(info["image_height"], "image_height"), number(info["image_width"], "image_width"))
    if features.ndim != 2:
        raise InvalidImageError(f"features are {features.shape}, two dimensions are needed")
    count = len(features)
    if boxes is not None:
        boxes = numbers(boxes, "bbox")
        if boxes.ndim == 2 and len(boxes) < count:  # features filled up with zeros
            filled = np.flatnonzero(features.any(1))
            count = max(len(boxes), int(filled[-1]) + 1 if len(filled) else 0)
    return Raw(features, boxes, size, _columns(info, source), count=count)


def _columns(info: dict[str, Any], source: Source) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if info.get("cls_prob") is not None:
        probabilities = numbers(info["cls_prob"], "cls_prob")
        columns = best_class(probabilities, source)
        counts = source.background or counted(probabilities.shape[1], source.class_names)
        source = replace(source, background=counts)
    if info.get("objects") is not None and (source.background != "first" or not columns):
        columns["class_id"] = without_background("class_id", numbers(info["objects"], "objects"), source)
    return columns


def write(export: Export) -> None:
    """Write a folder of pairs of files."""
    classes = classes_of(export)
    with new_folders(export.out) as (folder,):
        for image, regions in export.images():
            name = file_name(image, export.out)
            if name.endswith(_INFO):
                raise InputError(
                    f"{export.out}: image id {image!r} ends in {_INFO}, which mmf gives a meaning"
                )
            np.save(below(folder, f"{name}.npy"), regions.features)
            np.save(folder / f"{name}{_INFO}.npy", np.array(notes_of(regions, classes), dtype=object))


def classes_of(export: Export) -> int:
    """Return the number of class probabilities to write, 0 for none; that most are 0 is told."""
    if not {"class_id", "class_score"} <= export.columns:
        return 0
    export.report("cls_prob: only the probability of the best class is known, the others are written as 0")
    return export.class_count()


def notes_of(regions: Regions, classes: int) -> dict[str, Any]:
    """Return what mmf notes beside features."""
    height, width = regions.size
    ids = regions.class_id.astype(np.int64) if regions.class_id is not None else None
    return {
        "bbox": np.array(regions.boxes),
        "num_boxes": len(regions),
        "objects": ids,
        "cls_prob": one_hot(regions, classes, first=0) if classes else None,
        "image_width": width,
        "image_height": height,
    }
