"""Folders with one ``.npz`` per image whose arrays are named by the user, or as in a feature store.

The roles are ``features`` (n, D) or (D, n), ``boxes`` (n, 4) as corners x1 y1 x2 y2, the size of the image as
``size`` (height, width) or as ``height`` and ``width``, ``num_regions``, and the optional columns of a store.
"""

import zipfile
from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.write import atomic_folders
from bua.store.formats.arrays import as_int, as_numbers, list_files, orient_features, read_npz
from bua.store.formats.class_labels import remove_background
from bua.store.formats.export import Export, path_below
from bua.store.formats.image_ids import id_to_file_name
from bua.store.formats.source import InvalidImageError, RawImage, Source, SourceImage
from bua.structures.regions import OPTIONAL

#: Name of the format.
NAME = "npz"
#: What an array can be.
ROLES = ("features", "boxes", "size", "height", "width", "num_regions", *OPTIONAL)


def check_keys(format_name: str, keys: Any) -> dict[str, str]:
    """Return the names of arrays by their roles, as given by the user.

    Args:
        format_name: Name of the format.
        keys: Value of ``keys=``.

    Raises:
        InputError: If they are not names of arrays, a role does not exist, or another format is read.
    """
    if keys is None:
        return {}
    if format_name != NAME:
        raise InputError(
            f"keys={keys}: format={format_name} has fixed names; only format={NAME} takes others"
        )
    if not isinstance(keys, Mapping) or not all(isinstance(name, str) for name in keys.values()):
        raise InputError(f"keys={keys}: must name arrays, such as '{{features: x, boxes: y}}'")
    for role in keys:
        if role not in ROLES:
            raise InputError(f"keys={{{role}: {keys[role]}}}: must be one of {', '.join(ROLES)}")
    return {str(role): name for role, name in keys.items()}


def read(source: Source) -> Generator[SourceImage, None, None]:
    """Yield the images of a folder of ``.npz`` files, or that of a single file."""
    if source.path.is_file():
        files = [(source.path.name.removesuffix(".npz"), source.path)]
    else:
        files = list_files(source.folder(), ".npz")
    if not files:
        raise InputError(f"{source.path}: folder has no .npz files")
    for name, path in files:
        location = path.name if source.path.is_file() else path.relative_to(source.path).as_posix()
        yield SourceImage(name, location, partial(_read_image, path, source))


def _read_image(path: Path, source: Source) -> RawImage:
    names = {role: source.keys.get(role, role) for role in ROLES}
    found = read_npz(path, *names.values())
    for role in ("features", *source.keys):
        if names[role] not in found:
            raise InvalidImageError(_describe_missing(path, role, names[role]))
    arrays = {role: found[name] for role, name in names.items() if name in found}
    boxes = arrays.get("boxes")
    num_regions = as_int(arrays["num_regions"], names["num_regions"]) if "num_regions" in arrays else None
    count = len(boxes) if boxes is not None and boxes.ndim == 2 else num_regions
    columns: dict[str, NDArray[Any]] = {}
    for name in OPTIONAL:
        if name in arrays:
            values = as_numbers(arrays[name], names[name])
            columns[name] = remove_background(name, values, source) if name.endswith("_id") else values
    features = orient_features(arrays["features"], count, transposed=False)
    return RawImage(features, boxes, _image_size(arrays, names), columns, num_regions=num_regions)


def _image_size(arrays: Mapping[str, NDArray[Any]], names: Mapping[str, str]) -> tuple[int, int] | None:
    if "size" in arrays:
        values = as_numbers(arrays["size"], names["size"])
        if values.shape != (2,):
            raise InvalidImageError(f"{names['size']} must be height and width, got shape {values.shape}")
        return as_int(values[0], names["size"]), as_int(values[1], names["size"])
    if "height" in arrays and "width" in arrays:
        return as_int(arrays["height"], names["height"]), as_int(arrays["width"], names["width"])
    return None


def _describe_missing(path: Path, role: str, name: str) -> str:
    with zipfile.ZipFile(path) as archive:
        others = ", ".join(info.filename.removesuffix(".npy") for info in archive.infolist())
    return f"array {name} is missing; name that of the {role} in keys='{{{role}: NAME}}', one of {others}"


def write(export: Export) -> None:
    """Write a store as a folder of ``.npz`` files, with its own names."""
    with atomic_folders(export.out) as (folder,):
        for image, regions in export.images():
            path = path_below(folder, f"{id_to_file_name(image, export.out)}.npz")
            np.savez(path, size=np.array(regions.size), allow_pickle=False, **regions.arrays())
