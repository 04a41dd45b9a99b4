"""The three folders of self-critical.pytorch and ImageCaptioning.pytorch (scripts/make_bu_data.py).

``PREFIX_att/ID.npz`` holds ``feat`` (n, D) float32 (``z`` in its later test features),
``PREFIX_fc/ID.npy`` their mean (D,), ``PREFIX_box/ID.npy`` boxes (n, 4) in pixels. No sizes.
"""

from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np

from bua.errors import InputError
from bua.store.formats.arrays import members, read_npy, read_npz
from bua.store.formats.export import Export, below, new_folders
from bua.store.formats.image_ids import file_name
from bua.store.formats.item import InvalidImageError, Item, Raw, Source


def read(source: Source) -> Generator[Item, None, None]:
    """Read the folders that begin with a path, or the one that ends in ``_att`` and those beside it."""
    prefix = source.path.name.removesuffix("_att")
    att = source.path if source.path.is_dir() else source.path.with_name(f"{prefix}_att")
    if not att.is_dir():
        raise InputError(f"{source.path}: there is no folder {att.name}")
    beside = source.boxes or att.with_name(f"{prefix}_box")
    boxes = beside if beside.is_dir() else None
    if source.boxes is not None and boxes is None:
        raise InputError(f"{source.boxes}: there is no such folder")
    found = members(att, ".npz") or members(att, ".npy")
    if not found:
        raise InputError(f"{att}: there are no .npz files in it")
    for name, path in found:
        yield Item(name, path.relative_to(att.parent).as_posix(), partial(_image, path, boxes, name))


def _image(path: Path, boxes: Path | None, name: str) -> Raw:
    if path.suffix == ".npy":
        features = read_npy(path)
    else:
        arrays = read_npz(path)
        key = next((key for key in ("feat", "z") if key in arrays), None)
        if key is None and len(arrays) != 1:
            raise InvalidImageError(f"there is no array feat or z among {', '.join(arrays) or 'none'}")
        features = arrays[key] if key else next(iter(arrays.values()))
    return Raw(features, read_npy(boxes / f"{name}.npy") if boxes else None)


def write(export: Export) -> None:
    """Write the three folders; ``out`` is what their names begin with."""
    outs = [export.out.with_name(f"{export.out.name}_{part}") for part in ("att", "fc", "box")]
    for out in outs:
        if out.exists():
            raise InputError(f"{out}: is there already; delete it or give another out")
    with new_folders(*outs) as (att, fc, box):
        for image, regions in export.images():
            name = file_name(image, export.out)
            np.savez_compressed(below(att, f"{name}.npz"), feat=regions.features)
            np.save(below(fc, f"{name}.npy"), regions.features.mean(0))
            np.save(below(box, f"{name}.npy"), regions.boxes)
