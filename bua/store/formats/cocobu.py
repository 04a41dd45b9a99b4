"""The three folders of self-critical.pytorch and ImageCaptioning.pytorch (scripts/make_bu_data.py).

``PREFIX_att/ID.npz`` holds ``feat`` (n, D) float32 (``z`` in the later test features),
``PREFIX_fc/ID.npy`` their mean (D,), and ``PREFIX_box/ID.npy`` boxes (n, 4) in pixels. There are no
sizes.
"""

from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np

from bua.errors import InputError
from bua.io.write import atomic_folders
from bua.store.formats.arrays import list_files, read_npy, read_npz
from bua.store.formats.export import Export, path_below
from bua.store.formats.image_ids import id_to_file_name
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage


def read(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of the folders with a common prefix, given the prefix or the folder ``PREFIX_att``.

    Raises:
        InputError: If the folder of features or a given folder of boxes does not exist, or there are no
            features.
    """
    prefix = source.path.name.removesuffix("_att")
    att = source.path if source.path.is_dir() else source.path.with_name(f"{prefix}_att")
    if not att.is_dir():
        raise InputError(f"{source.path}: folder {att.name} does not exist")
    box_folder = source.boxes or att.with_name(f"{prefix}_box")
    boxes = box_folder if box_folder.is_dir() else None
    if source.boxes is not None and boxes is None:
        raise InputError(f"{source.boxes}: folder does not exist")
    files = list_files(att, ".npz") or list_files(att, ".npy")
    if not files:
        raise InputError(f"{att}: folder has no .npz files")
    for name, path in files:
        yield SourceImage(
            name, path.relative_to(att.parent).as_posix(), partial(_read_image, path, boxes, name)
        )


def _read_image(path: Path, boxes: Path | None, name: str) -> RawImage:
    if path.suffix == ".npy":
        features = read_npy(path)
    else:
        arrays = read_npz(path)
        key = next((key for key in ("feat", "z") if key in arrays), None)
        if key is None and len(arrays) != 1:
            raise InvalidImageError(f"array feat or z is missing; the file has {', '.join(arrays) or 'none'}")
        features = arrays[key] if key else next(iter(arrays.values()))
    return RawImage(features, read_npy(boxes / f"{name}.npy") if boxes else None)


def write(export: Export) -> None:
    """Write a store as three folders, whose names begin with ``export.out``.

    Raises:
        InputError: If one of the folders already exists, or cannot be written.
    """
    outs = [export.out.with_name(f"{export.out.name}_{part}") for part in ("att", "fc", "box")]
    for out in outs:
        if out.exists():
            raise InputError(f"{out}: already exists; delete it or choose another out=")
    with atomic_folders(*outs) as (att, fc, box):
        for image, regions in export.images():
            name = id_to_file_name(image, export.out)
            np.savez_compressed(path_below(att, f"{name}.npz"), feat=regions.features)
            np.save(path_below(fc, f"{name}.npy"), regions.features.mean(0))
            np.save(path_below(box, f"{name}.npy"), regions.boxes)
