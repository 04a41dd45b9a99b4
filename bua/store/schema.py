"""The file format ``bua-regions``, version 1, and what a file of it must satisfy to be opened.

::

    image_id          (N,) int64, or UTF-8 text   unique
    rows              (N, 2) int64                image n owns rows[n, 0]:rows[n, 1], at least one
    size              (N, 2) int32                height and width of the image after EXIF rotation
    features          (R, D) float16 or float32   finite, contiguous in a finished file
    boxes             (R, 4) float32              x1 y1 x2 y2 in pixels of the image
    class_id          (R,) int32                  optional, as are class_score (float32),
    attribute_id      (R,) int32                  attribute_score (float32)

File attributes: ``format``, ``version``, ``detector``, ``configuration`` (JSON), ``weights_sha256``,
``class_names`` and ``attribute_names`` (JSON), ``versions`` (JSON), ``created``, ``sha256`` (JSON,
of the bytes of every dataset with one row a region), ``origin`` (JSON, may be missing: what the file
was made from), and ``grid`` where the rows are a grid. The seal before the first byte of HDF5
(``bua.store.checksum``) may be missing too.
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
#: Datasets with one row a region: the types each may have.
COLUMNS: dict[str, tuple[type, ...]] = {
    "features": (np.float16, np.float32),
    "boxes": (np.float32,),
    **{name: (kind,) for name, kind in OPTIONAL.items()},
}
_JSON = ("configuration", "class_names", "attribute_names", "versions", "sha256", "origin")


@dataclass(frozen=True)
class StoreMetadata:
    """What a store says of its origin.

    Attributes:
        detector: name of the detector.
        configuration: plain values: selection rule, colour order, resizing.
        weights_sha256: of the detector's weights.
        class_names: background not counted.
        attribute_names: "no attribute" not counted.
        versions: of bua, torch and torchvision.
        created: time in ISO 8601.
        grid: height and width where the rows of an image are a grid.
        sha256: of the bytes of each column of a finished file.
        origin: plain values: the files that it was made from, where it was not extracted.
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
        """What must be equal for two files to hold features of the same detector; plain values."""
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
        """Return the file attributes."""
        values: dict[str, Any] = {
            name: json.dumps(value, sort_keys=True) if name in _JSON else value
            for name, value in vars(self).items()
            if value is not None
        }
        return {"format": FORMAT, "version": VERSION, **values}


def read_metadata(file: h5py.File, path: Path) -> StoreMetadata:
    """Return the attributes of an open file.

    Raises:
        InputError: it is not of this format and version, or an attribute is missing or broken.
    """
    if file.attrs.get("format") != FORMAT:
        raise InputError(f"{path}: not a feature file of format {FORMAT}; bua extract makes one")
    if file.attrs.get("version") != VERSION:
        raise InputError(f"{path}: version {file.attrs.get('version')} of {FORMAT}; {VERSION} is read")
    try:
        values = {n: json.loads(file.attrs.get(n, "{}") if n == "origin" else file.attrs[n]) for n in _JSON}
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
        raise InputError(f"{path}: a file attribute is missing or broken ({error})") from None


def check_structure(file: h5py.File, path: Path) -> None:
    """Refuse what could read other files, other memory than is stored, or the wrong rows.

    Raises:
        InputError: a link that is not hard, external or virtual data, a type or shape that the
            format does not have, more rows than are stored.
    """
    found: dict[str, h5py.Dataset] = {}
    for name in file:
        if type(file.get(name, getlink=True)) is not h5py.HardLink:
            raise InputError(f"{path}: {name} is a link to elsewhere; it is not followed")
        dataset = found[name] = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"{path}: {name} is a group; {FORMAT} has none")
        if dataset.external or dataset.is_virtual:
            raise InputError(f"{path}: {name} keeps its data in another file; it is not read")
        if dataset.dtype.hasobject and name != "image_id":
            raise InputError(f"{path}: {name} has type {dataset.dtype}")
        stored, claimed = dataset.id.get_storage_size(), dataset.nbytes
        if claimed and (stored == 0 or (dataset.chunks is None and claimed > stored)):
            raise InputError(f"{path}: {name} claims {dataset.shape}, more than the file stores")
    for name in ("image_id", "rows", "size", "features", "boxes"):
        if name not in found:
            raise InputError(f"{path}: there is no dataset {name}")
    there = {name: dataset.shape for name, dataset in found.items()}
    count, regions = len(found["image_id"]), len(found["boxes"])
    if count > regions:
        raise InputError(f"{path}: {count} images cannot own {regions} regions; each needs at least one")
    if len(there["features"]) != 2:
        raise InputError(f"{path}: features is {there['features']}, two dimensions are needed")
    shapes = {"image_id": (count,), "rows": (count, 2), "size": (count, 2)}
    shapes |= {"features": (regions, there["features"][1]), "boxes": (regions, 4)}
    shapes |= {name: (regions,) for name in OPTIONAL if name in found}
    for name, shape in shapes.items():
        if there[name] != shape:
            raise InputError(f"{path}: {name} is {there[name]}, {shape} is needed")
    for name, kinds in {**COLUMNS, "rows": (np.int64,), "size": (np.int32,)}.items():
        if name in found and (kind := found[name].dtype) not in [np.dtype(each) for each in kinds]:
            raise InputError(f"{path}: {name} has type {kind}")


def check_rows(rows: NDArray[np.int64], regions: int, path: Path) -> None:
    """Raise ``InputError`` unless every image owns at least one row and all rows are there."""
    start, stop = rows[:, 0], rows[:, 1]
    if len(rows) and (start.min() < 0 or stop.max() > regions or (stop <= start).any()):
        bad = int(np.flatnonzero((start < 0) | (stop > regions) | (stop <= start))[0])
        raise InputError(
            f"{path}: rows[{bad}] is {rows[bad].tolist()}; a range within 0 to {regions} is needed"
        )
    order = np.argsort(start, kind="stable")
    if (start[order][1:] < stop[order][:-1]).any():
        raise InputError(f"{path}: two images own the same rows")
