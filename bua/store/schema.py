"""The file format ``bua-regions``, version 1, and the checks that a file must pass to be opened.

::

    image_id          (N,) int64, or UTF-8 text   unique
    rows              (N, 2) int64                image n owns rows[n, 0]:rows[n, 1], at least one
    size              (N, 2) int32                height and width of the image after EXIF rotation
    features          (R, D) float16 or float32   finite, contiguous in a finished file
    boxes             (R, 4) float32              x1 y1 x2 y2 in pixels of the image
    class_id          (R,) int32                  optional, as are class_score (float32),
    attribute_id      (R,) int32                  attribute_score (float32)

File attributes: ``format``, ``version``, ``detector``, ``configuration`` (JSON), ``weights_sha256``,
``class_names`` and ``attribute_names`` (JSON), ``versions`` (JSON), ``created``, ``sha256`` (JSON, the
hash of every dataset with one row per region), ``origin`` (JSON, optional, the files that an imported or
merged store was made from), and ``grid`` if the regions of every image form a grid. The checksum header
before the first byte of HDF5 (``bua.store.checksum``) is optional as well.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.public_names import to_public
from bua.structures.regions import OPTIONAL

FORMAT, VERSION = "bua-regions", 1
#: Datasets with one row per region, and the types that each may have.
COLUMNS: dict[str, tuple[type, ...]] = {
    "features": (np.float16, np.float32),
    "boxes": (np.float32,),
    **{name: (kind,) for name, kind in OPTIONAL.items()},
}
_JSON_ATTRIBUTES = ("configuration", "class_names", "attribute_names", "versions", "sha256", "origin")


@dataclass(frozen=True)
class StoreMetadata:
    """The metadata of a store, kept in its file attributes.

    Attributes:
        detector: Name of the detector.
        configuration: Configuration of the detector as plain values: selection rule, color order, resizing.
        weights_sha256: SHA-256 of the detector's weights.
        class_names: Names of the classes, without the background.
        attribute_names: Names of the attributes, without "no attribute".
        versions: Versions of bua, torch and torchvision.
        created: Time of creation in ISO 8601.
        grid: Rows and columns of the grid that the regions of every image form, if they do.
        sha256: SHA-256 of each column, in a finished file.
        origin: Plain values that describe the files that an imported or merged store was made from.
    """

    detector: str
    configuration: Mapping[str, Any]
    weights_sha256: str
    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    grid: tuple[int, int] | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """Return what identifies the detector as plain values; features of equal identity are compatible."""
        identity: dict[str, Any] = json.loads(
            json.dumps(
                {
                    "detector": self.detector,
                    "configuration": self.configuration,
                    "weights_sha256": self.weights_sha256,
                }
            )
        )
        return identity

    def attributes(self) -> dict[str, Any]:
        """Return the values of the file attributes by name."""
        values: dict[str, Any] = {
            name: json.dumps(value, sort_keys=True) if name in _JSON_ATTRIBUTES else value
            for name, value in vars(self).items()
            if value is not None
        }
        return {"format": FORMAT, "version": VERSION, **values}


def read_metadata(file: h5py.File, path: Path) -> StoreMetadata:
    """Return the attributes of an open file.

    Raises:
        InputError: If the file is of another format or version, or an attribute is missing or invalid.
    """
    if file.attrs.get("format") != FORMAT:
        raise InputError(f"{path}: not a feature file of format {FORMAT}; create one with bua extract")
    if file.attrs.get("version") != VERSION:
        raise InputError(
            f"{path}: version of {FORMAT} must be {VERSION}, got version {file.attrs.get('version')}"
        )
    try:
        values = {
            n: json.loads(file.attrs.get(n, "{}") if n == "origin" else file.attrs[n])
            for n in _JSON_ATTRIBUTES
        }
        return StoreMetadata(
            detector=str(file.attrs["detector"]),
            configuration=to_public(values["configuration"]),
            weights_sha256=str(file.attrs["weights_sha256"]),
            class_names=tuple(values["class_names"]),
            attribute_names=tuple(values["attribute_names"]),
            versions=values["versions"],
            created=str(file.attrs["created"]),
            grid=tuple(file.attrs["grid"].tolist()) if "grid" in file.attrs else None,
            sha256=values["sha256"],
            origin=values["origin"],
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: a file attribute is missing or invalid ({error})") from None


def check_structure(file: h5py.File, path: Path) -> None:
    """Reject files that could read other files, more data than is stored, or the wrong rows.

    Raises:
        InputError: If the file has a soft or external link, external or virtual data, a type or shape
            that the format does not allow, or declares more rows than are stored.
    """
    datasets: dict[str, h5py.Dataset] = {}
    for name in file:
        if type(file.get(name, getlink=True)) is not h5py.HardLink:
            raise InputError(f"{path}: {name} is a link; links are not followed")
        dataset = datasets[name] = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"{path}: {name} is a group; {FORMAT} has only datasets")
        if dataset.external or dataset.is_virtual:
            raise InputError(f"{path}: {name} stores its data in another file, which is not read")
        if dataset.dtype.hasobject and name != "image_id":
            raise InputError(f"{path}: {name} has type {dataset.dtype}, which {FORMAT} does not allow")
        stored, declared = dataset.id.get_storage_size(), dataset.nbytes
        if declared and (stored == 0 or (dataset.chunks is None and declared > stored)):
            raise InputError(f"{path}: {name} has shape {dataset.shape}, more than the file stores")
    for name in ("image_id", "rows", "size", "features", "boxes"):
        if name not in datasets:
            raise InputError(f"{path}: dataset {name} is missing")
    shapes = {name: dataset.shape for name, dataset in datasets.items()}
    count, regions = len(datasets["image_id"]), len(datasets["boxes"])
    if count > regions:
        raise InputError(f"{path}: {count} images cannot own {regions} regions; each needs at least one")
    if len(shapes["features"]) != 2:
        raise InputError(f"{path}: features must have two dimensions, got shape {shapes['features']}")
    expected = {"image_id": (count,), "rows": (count, 2), "size": (count, 2)}
    expected |= {"features": (regions, shapes["features"][1]), "boxes": (regions, 4)}
    expected |= {name: (regions,) for name in OPTIONAL if name in datasets}
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise InputError(f"{path}: {name} must have shape {shape}, got {shapes[name]}")
    for name, types in {**COLUMNS, "rows": (np.int64,), "size": (np.int32,)}.items():
        allowed = [np.dtype(kind) for kind in types]
        if name in datasets and (dtype := datasets[name].dtype) not in allowed:
            raise InputError(f"{path}: {name} must be {' or '.join(map(str, allowed))}, got {dtype}")


def check_rows(rows: NDArray[np.int64], regions: int, path: Path) -> None:
    """Check that every image owns at least one row, and no row belongs to two images.

    Args:
        rows: First row of each image and the row after its last, shape (N, 2).
        regions: Number of rows in the columns.
        path: Store, named in messages.

    Raises:
        InputError: If a range is empty or leaves the columns, or two ranges overlap.
    """
    start, stop = rows[:, 0], rows[:, 1]
    if len(rows) and (start.min() < 0 or stop.max() > regions or (stop <= start).any()):
        bad = int(np.flatnonzero((start < 0) | (stop > regions) | (stop <= start))[0])
        raise InputError(
            f"{path}: rows[{bad}] must be a range between 0 and {regions}, got {rows[bad].tolist()}"
        )
    order = np.argsort(start, kind="stable")
    if (start[order][1:] < stop[order][:-1]).any():
        raise InputError(f"{path}: two images own the same rows")
