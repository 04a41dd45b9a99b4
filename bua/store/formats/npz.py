"""Folders with one ``.npz`` per image, of bottom-up-attention.pytorch and of openvqa and mcan-vqa.

Both have ``x``, ``bbox`` (n, 4) in pixels, ``num_bbox``, ``image_h`` and ``image_w``.
MILVLG/bottom-up-attention.pytorch (utils/extract_utils.py) writes ``x`` as (n, D), and ``info``, a
pickled dictionary with ``objects_id``, ``objects_conf``, ``attrs_id``, ``attrs_conf``: in its earlier
versions the ids exclude the background, in later ones it comes first (``background=first``).
openvqa's loader expects ``x`` as (D, n); its sizes may be missing.
"""

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bua.errors import InputError
from bua.io.write import atomic_folders
from bua.store.formats.arrays import as_dict, as_int, as_numbers, list_files, orient_features, read_npz
from bua.store.formats.class_labels import remove_background
from bua.store.formats.export import Export, path_below
from bua.store.formats.image_ids import id_to_file_name
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage

_LABELS = {
    "class_id": "objects_id",
    "class_score": "objects_conf",
    "attribute_id": "attrs_id",
    "attribute_score": "attrs_conf",
}
_ARRAYS = ("x", "bbox", "num_bbox", "image_h", "image_w", "info")


def read_mil(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a folder of bottom-up-attention.pytorch."""
    yield from _read(source, transposed=False)


def read_openvqa(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a folder of openvqa or mcan-vqa."""
    yield from _read(source, transposed=True)


def _read(source: Source, transposed: bool) -> Generator[SourceImage, None, None]:
    files = list_files(source.folder(), ".npz")
    if not files:
        raise InputError(f"{source.path}: folder has no .npz files")
    for name, path in files:
        location = path.relative_to(source.path).as_posix()
        yield SourceImage(name, location, partial(_read_image, path, source, transposed))


def _read_image(path: Path, source: Source, transposed: bool) -> RawImage:
    arrays = read_npz(path, *_ARRAYS)
    if "x" not in arrays:
        raise InvalidImageError("array x is missing")
    boxes = arrays.get("bbox")
    num_regions = as_int(arrays["num_bbox"], "num_bbox") if "num_bbox" in arrays else None
    count = len(boxes) if boxes is not None and boxes.ndim == 2 else num_regions
    size = None
    if "image_h" in arrays and "image_w" in arrays:
        size = (as_int(arrays["image_h"], "image_h"), as_int(arrays["image_w"], "image_w"))
    features = orient_features(arrays["x"], count, transposed)
    info = as_dict(arrays["info"], "info") if "info" in arrays else {}
    return RawImage(features, boxes, size, _parse_columns(info, source), num_regions=num_regions)


def _parse_columns(info: dict[str, Any], source: Source) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, key in _LABELS.items():
        if info.get(key) is None:
            continue
        values = as_numbers(info[key], key)
        columns[name] = remove_background(name, values, source) if name.endswith("_id") else values
    return columns


def write_mil(export: Export) -> None:
    """Write a store as a folder of bottom-up-attention.pytorch, with ids that exclude the background."""
    with atomic_folders(export.out) as (folder,):
        for image, regions in export.images():
            name = id_to_file_name(image, export.out)
            height, width = regions.size
            info: dict[str, Any] = {
                "image_id": name,
                "image_h": height,
                "image_w": width,
                "num_boxes": len(regions),
            }
            arrays = regions.arrays()
            for column, key in _LABELS.items():
                if column in arrays:
                    info[key] = arrays[column].astype(np.int64 if column.endswith("_id") else np.float32)
            np.savez_compressed(
                path_below(folder, f"{name}.npz"),
                x=regions.features,
                bbox=regions.boxes,
                num_bbox=len(regions),
                image_h=height,
                image_w=width,
                info=np.array(info, dtype=object),
            )


def write_openvqa(export: Export) -> None:
    """Write a store as a folder of openvqa or mcan-vqa, with transposed features."""
    with atomic_folders(export.out) as (folder,):
        for image, regions in export.images():
            height, width = regions.size
            np.savez_compressed(
                path_below(folder, f"{id_to_file_name(image, export.out)}.npz"),
                x=np.ascontiguousarray(regions.features.T),
                bbox=regions.boxes,
                num_bbox=len(regions),
                image_h=height,
                image_w=width,
            )
