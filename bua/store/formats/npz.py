"""Folders of one ``.npz`` an image: of bottom-up-attention.pytorch, and of openvqa and mcan-vqa.

Both have ``x``, ``bbox`` (n, 4) in pixels, ``num_bbox``, ``image_h`` and ``image_w``.
MILVLG/bottom-up-attention.pytorch (utils/extract_utils.py) writes ``x`` as (n, D), and ``info``, a
pickled dictionary with ``objects_id``, ``objects_conf``, ``attrs_id``, ``attrs_conf``: its earlier
versions leave the background out of the ids, later ones count it first (``background=first``).
openvqa's loader expects ``x`` as (D, n); its sizes may be missing.
"""

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bua.errors import InputError
from bua.store.formats.arrays import mapping, members, number, numbers, read_npz, upright
from bua.store.formats.export import Export, below, new_folders
from bua.store.formats.image_ids import file_name
from bua.store.formats.item import InvalidImageError, Item, Raw, Source
from bua.store.formats.labels import without_background

_LABELS = {
    "class_id": "objects_id",
    "class_score": "objects_conf",
    "attribute_id": "attrs_id",
    "attribute_score": "attrs_conf",
}
_NAMES = ("x", "bbox", "num_bbox", "image_h", "image_w", "info")


def read_mil(source: Source) -> Generator[Item, None, None]:
    """Read a folder of bottom-up-attention.pytorch."""
    yield from _read(source, columns_first=False)


def read_openvqa(source: Source) -> Generator[Item, None, None]:
    """Read a folder of openvqa or mcan-vqa."""
    yield from _read(source, columns_first=True)


def _read(source: Source, columns_first: bool) -> Generator[Item, None, None]:
    found = members(source.folder(), ".npz")
    if not found:
        raise InputError(f"{source.path}: there is no .npz file in it")
    for name, path in found:
        where = path.relative_to(source.path).as_posix()
        yield Item(name, where, partial(_image, path, source, columns_first))


def _image(path: Path, source: Source, columns_first: bool) -> Raw:
    arrays = read_npz(path, *_NAMES)
    if "x" not in arrays:
        raise InvalidImageError("there is no array x")
    boxes = arrays.get("bbox")
    real = number(arrays["num_bbox"], "num_bbox") if "num_bbox" in arrays else None
    count = len(boxes) if boxes is not None and boxes.ndim == 2 else real
    size = None
    if "image_h" in arrays and "image_w" in arrays:
        size = (number(arrays["image_h"], "image_h"), number(arrays["image_w"], "image_w"))
    features = upright(arrays["x"], count, columns_first)
    info = mapping(arrays["info"], "info") if "info" in arrays else {}
    return Raw(features, boxes, size, _columns(info, source), count=real)


def _columns(info: dict[str, Any], source: Source) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, key in _LABELS.items():
        if info.get(key) is None:
            continue
        values = numbers(info[key], key)
        columns[name] = without_background(name, values, source) if name.endswith("_id") else values
    return columns


def write_mil(export: Export) -> None:
    """Write a folder as bottom-up-attention.pytorch does, ids without background."""
    with new_folders(export.out) as (folder,):
        for image, regions in export.images():
            name = file_name(image, export.out)
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
                below(folder, f"{name}.npz"),
                x=regions.features,
                bbox=regions.boxes,
                num_bbox=len(regions),
                image_h=height,
                image_w=width,
                info=np.array(info, dtype=object),
            )


def write_openvqa(export: Export) -> None:
    """Write a folder as openvqa and mcan-vqa read it: features turned over."""
    with new_folders(export.out) as (folder,):
        for image, regions in export.images():
            height, width = regions.size
            np.savez_compressed(
                below(folder, f"{file_name(image, export.out)}.npz"),
                x=np.ascontiguousarray(regions.features.T),
                bbox=regions.boxes,
                num_bbox=len(regions),
                image_h=height,
                image_w=width,
            )
