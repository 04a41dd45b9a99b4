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
merged store was made from), and ``grid`` if the regions of every image form a grid.

The checksum header reveals every changed byte before HDF5, which can crash the process over a single one in
its own structures, reads the file. A file is opened only if its checksum header matches, for which
everything but the columns is read; ``bua.store.check`` reads the columns as well.

HDF5 leaves the beginning of a file, the "user block", to the program that writes it. A store keeps the
checksum header there: one line of JSON, padded with spaces to 2,048 bytes::

    {"bua-seal": 1, "bytes": 123, "columns": {"boxes": [4096, 96]}, "structure": "sha256"}

``columns`` holds the first byte and the length of each dataset with one row per region. ``structure``
is the hash of every byte after the user block that belongs to no column: image ids, rows, sizes, names,
and the attribute with the hash of each column. Together they cover every byte of the file, and damage
to one column does not cast doubt on the rest.

Older files of version 1 have no user block and begin with the signature of HDF5.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.io.schema import parse_json
from bua.public_names import to_public
from bua.structures.regions import OPTIONAL

FORMAT, VERSION = "bua-regions", 1
#: Datasets with one row per region, and the types that each may have.
COLUMNS: dict[str, tuple[type, ...]] = {
    "features": (np.float16, np.float32),
    "boxes": (np.float32,),
    **{name: (kind,) for name, kind in OPTIONAL.items()},
}
_JSON_ATTRIBUTES: dict[str, Any] = {
    "configuration": dict[str, Any],
    "class_names": list[str],
    "attribute_names": list[str],
    "versions": dict[str, Any],
    "sha256": dict[str, str],
    "origin": dict[str, Any],
}


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
            name: parse_json(
                file.attrs.get(name, "{}") if name == "origin" else file.attrs[name],
                kind,
                path,
                f"attribute {name}",
            )
            for name, kind in _JSON_ATTRIBUTES.items()
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
    except InputError:
        raise
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


USER_BLOCK_BYTES = 2048
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Key of the version of the header; its name is part of the file format.
_VERSION_KEY = "bua-seal"
_CHUNK_BYTES = 2**20


def write_checksum(path: Path, columns: Mapping[str, tuple[int, int]]) -> None:
    """Write the checksum header of a finished file.

    Args:
        path: File with a user block of ``USER_BLOCK_BYTES`` bytes.
        columns: First byte and number of bytes of each column.
    """
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        content = {"bytes": size, "columns": {name: list(span) for name, span in columns.items()}}
        block = _format_block({**content, "structure": _structure_sha256(file, size, columns.values())})
        file.seek(0)
        file.write(block)


def checksummed_columns(path: Path) -> dict[str, tuple[int, int]] | None:
    """Return the first byte and the length of each column according to the checksum header.

    Returns:
        Spans by column name, or ``None`` if the file has no checksum header.
    """
    with open(path, "rb") as file:
        return _column_spans(_parse_block(file.read(USER_BLOCK_BYTES)))


def has_checksum_header(path: Path) -> bool:
    """Return whether a file begins with a checksum header, and not with the signature of HDF5."""
    with open(path, "rb") as file:
        return file.read(len(HDF5_SIGNATURE)) != HDF5_SIGNATURE


def verify_checksum(path: Path) -> list[str]:
    """Compare the structure of a file, everything but its columns, with the checksum header.

    Returns:
        One line about the damage; an empty list if the structure is intact, or if the file has no
        checksum header and begins with the signature of HDF5.
    """
    with open(path, "rb") as file:
        block = file.read(USER_BLOCK_BYTES)
        size = os.fstat(file.fileno()).st_size
        if block.startswith(HDF5_SIGNATURE):
            return []
        content = _parse_block(block)
        columns = _column_spans(content)
        if columns is None or block != _format_block({k: v for k, v in content.items() if k != _VERSION_KEY}):
            return [f"{path}: not a readable HDF5 file, or its first {USER_BLOCK_BYTES:,} bytes are damaged"]
        if content["bytes"] != size:
            return [f"{path}: damaged: it has {size:,} bytes, but {content['bytes']:,} were written"]
        if content.get("structure") != _structure_sha256(file, size, columns.values()):
            return [
                f"{path}: damaged: its ids, rows, sizes or attributes have changed since they were written "
                "(sha256)"
            ]
    return []


def _format_block(content: Mapping[str, Any]) -> bytes:
    text = json.dumps({_VERSION_KEY: 1, **content}, sort_keys=True)
    return text.encode().ljust(USER_BLOCK_BYTES - 1) + b"\n"


def _parse_block(block: bytes) -> dict[str, Any]:
    try:
        content = json.loads(block)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get(_VERSION_KEY) == 1 else {}


def _column_spans(content: Mapping[str, Any]) -> dict[str, tuple[int, int]] | None:
    columns = content.get("columns")
    if not isinstance(columns, dict) or not isinstance(content.get("bytes"), int):
        return None
    spans = {}
    for name, span in columns.items():
        valid = isinstance(span, list) and len(span) == 2 and all(type(n) is int and n >= 0 for n in span)
        if not valid or span[0] < USER_BLOCK_BYTES or sum(span) > content["bytes"]:
            return None
        spans[name] = (span[0], span[1])
    return spans


def _structure_sha256(file: IO[bytes], size: int, columns: Any) -> str:
    """Return the sha256 of all bytes after the user block that belong to no column."""
    digest = hashlib.sha256()
    position = USER_BLOCK_BYTES
    for start, count in sorted(columns):
        for chunk in _read_chunks(file, position, start):
            digest.update(chunk)
        position = max(position, start + count)
    for chunk in _read_chunks(file, position, size):
        digest.update(chunk)
    return digest.hexdigest()


def _read_chunks(file: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    file.seek(start)
    while start < stop and (chunk := file.read(min(_CHUNK_BYTES, stop - start))):
        start += len(chunk)
        yield chunk
