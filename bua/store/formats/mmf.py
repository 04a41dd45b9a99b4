"""The features of mmf (pythia): two ``.npy`` files per image; ``mmf_lmdb`` has all images in one file.

tools/scripts/features/extract_features_vmb.py: ``NAME.npy`` (n, D) and ``NAME_info.npy``, a pickled
dictionary with ``bbox`` (n, 4) in pixels, ``num_boxes``, ``objects`` (n,), ``cls_prob`` (n, C),
``image_width`` and ``image_height``. With its option ``--background``, ``objects`` and ``cls_prob``
include the background as the first class, which is recognized by one more probability than names, or by
1,601 probabilities. ``num_boxes`` counts regions with a score above 0; mmf reads all rows, and so does
this module.
"""

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bua.errors import InputError
from bua.io.write import atomic_folders
from bua.store.formats.arrays import as_dict, as_int, as_numbers, list_files, read_npy
from bua.store.formats.class_labels import (
    background_position,
    best_class,
    one_hot_probabilities,
    remove_background,
)
from bua.store.formats.export import Export, path_below
from bua.store.formats.image_ids import id_to_file_name
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage
from bua.structures.regions import Regions

_INFO = "_info"


def read(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a folder.

    Raises:
        InputError: If the folder does not exist or has no ``.npy`` files.
    """
    files = [(name, path) for name, path in list_files(source.folder(), ".npy") if not name.endswith(_INFO)]
    if not files:
        raise InputError(f"{source.path}: folder has no .npy files")
    for name, path in files:
        location = path.relative_to(source.path).as_posix()
        yield SourceImage(name, location, partial(_read_pair, path, source))


def _read_pair(path: Path, source: Source) -> RawImage:
    info_path = path.with_name(f"{path.name.removesuffix('.npy')}{_INFO}.npy")
    info = as_dict(read_npy(info_path), info_path.name) if info_path.exists() else {}
    return parse_image(read_npy(path), info, source)


def parse_image(features: Any, info: dict[str, Any], source: Source) -> RawImage:
    """Return an image from its features and the dictionary of its other values.

    Args:
        features: Features, shape (n, D), or with further leading dimensions.
        info: Dictionary as mmf writes it.
        source: Source of the image.

    Raises:
        InvalidImageError: If a value has the wrong type or shape.
    """
    features = as_numbers(features, "features")
    if features.ndim > 2:  # (1, n, D), or a grid with the features last
        features = features.reshape(-1, features.shape[-1])
    boxes = info.get("bbox")
    size = None
    if info.get("image_height") is not None and info.get("image_width") is not None:
        size = (as_int(info["image_height"], "image_height"), as_int(info["image_width"], "image_width"))
    if features.ndim != 2:
        raise InvalidImageError(f"features must have two dimensions, got shape {features.shape}")
    count = len(features)
    if boxes is not None:
        boxes = as_numbers(boxes, "bbox")
        if boxes.ndim == 2 and len(boxes) < count:  # features are padded with zeros
            nonzero = np.flatnonzero(features.any(1))
            count = max(len(boxes), int(nonzero[-1]) + 1 if len(nonzero) else 0)
    return RawImage(features, boxes, size, _parse_columns(info, source), num_regions=count)


def _parse_columns(info: dict[str, Any], source: Source) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if info.get("cls_prob") is not None:
        probabilities = as_numbers(info["cls_prob"], "cls_prob")
        columns = best_class(probabilities, source)
        background = source.background or background_position(probabilities.shape[1], source.class_names)
        source = replace(source, background=background)
    if info.get("objects") is not None and (source.background != "first" or not columns):
        columns["class_id"] = remove_background("class_id", as_numbers(info["objects"], "objects"), source)
    return columns


def write(export: Export) -> None:
    """Write a store as a folder.

    Raises:
        InputError: If an image id is not a valid file name, or the disk is full.
    """
    classes = num_class_probabilities(export)
    with atomic_folders(export.out) as (folder,):
        for image, regions in export.images():
            name = id_to_file_name(image, export.out)
            if name.endswith(_INFO):
                raise InputError(
                    f"{export.out}: image id {image!r} ends in {_INFO}, which mmf reserves for its info files"
                )
            np.save(path_below(folder, f"{name}.npy"), regions.features)
            np.save(folder / f"{name}{_INFO}.npy", np.array(make_info(regions, classes), dtype=object))


def num_class_probabilities(export: Export) -> int:
    """Return the number of class probabilities to write, 0 for none, and report that most of them are 0."""
    if not {"class_id", "class_score"} <= export.columns:
        return 0
    export.report("cls_prob: the store has only the probability of the best class; the rest are written as 0")
    return export.class_count()


def make_info(regions: Regions, classes: int) -> dict[str, Any]:
    """Return the dictionary that mmf keeps for an image in addition to its features.

    Args:
        regions: Regions of the image.
        classes: Number of class probabilities, 0 for none.
    """
    height, width = regions.size
    ids = regions.class_id.astype(np.int64) if regions.class_id is not None else None
    return {
        "bbox": np.array(regions.boxes),
        "num_boxes": len(regions),
        "objects": ids,
        "cls_prob": one_hot_probabilities(regions, classes, first=0) if classes else None,
        "image_width": width,
        "image_height": height,
    }
