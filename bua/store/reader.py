"""Read a feature store lazily by image id; safe in the workers of a ``DataLoader``."""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.store.schema import (
    StoreMetadata,
    check_rows,
    check_structure,
    has_checksum_header,
    read_metadata,
    verify_checksum,
)
from bua.structures.annotations import ImageId
from bua.structures.regions import OPTIONAL, Regions


@dataclass(frozen=True)
class PaddedRegions:
    """The regions of a batch of images, padded to the largest number of regions.

    Shapes: B images, K regions, D features per region.

    Attributes:
        features: Region features, shape (B, K, D), in the dtype of the store; zeros at padding.
        boxes: Boxes x1 y1 x2 y2 in pixels, shape (B, K, 4); zeros at padding.
        mask: True for regions and false for padding, shape (B, K).
        size: Height and width of each image in pixels, shape (B, 2).
    """

    features: NDArray[np.floating]
    boxes: NDArray[np.float32]
    mask: NDArray[np.bool_]
    size: NDArray[np.int32]


class FeatureStore:
    """Read-only mapping from image ids to regions.

    The file is checked when it is opened, and its columns are memory-mapped, so that no handle is
    inherited across a fork; a file that cannot be mapped is reopened in every process. Pickling keeps
    the path and the index, not the data.

    Args:
        path: File of format ``bua-regions``.

    Attributes:
        metadata: Metadata of the store.
        image_ids: Ids of the images in the order of the file.
        feature_size: Number of features per region.

    Raises:
        InputError: If the file does not exist, is damaged or is of another format.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._pid, self._columns = -1, dict[str, Any]()
        with open_store(self.path) as file:
            self.metadata: StoreMetadata = read_metadata(file, self.path)
            try:
                self.image_ids: list[ImageId] = _read_ids(file["image_id"])
                self._rows: NDArray[np.int64] = file["rows"][:]
                self._size: NDArray[np.int32] = file["size"][:]
            except (OSError, RuntimeError, TypeError, ValueError) as error:
                raise InputError(f"{self.path}: damaged HDF5 file ({error})") from None
            self.feature_size = int(file["features"].shape[1])
            check_rows(self._rows, len(file["boxes"]), self.path)
        self._positions = {image_id: n for n, image_id in enumerate(self.image_ids)}
        if len(self._positions) != len(self.image_ids):
            raise InputError(f"{self.path}: an image id is duplicated")

    def __len__(self) -> int:
        return len(self.image_ids)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._positions

    def __iter__(self) -> Iterator[ImageId]:
        return iter(self.image_ids)

    def __getitem__(self, image_id: ImageId) -> Regions:
        """Return the regions of one image, as views of the file if it is memory-mapped.

        Raises:
            InputError: If the image is not in the store.
        """
        n = self._position_of(image_id)
        start, stop = self._rows[n]
        arrays = {name: column[start:stop] for name, column in self._open_columns().items()}
        return Regions(size=(int(self._size[n, 0]), int(self._size[n, 1])), **arrays)

    def counts(self) -> NDArray[np.int64]:
        """Return the number of regions of every image in the order of ``image_ids``, shape (N,)."""
        counts: NDArray[np.int64] = self._rows[:, 1] - self._rows[:, 0]
        return counts

    def padded(self, image_ids: Sequence[ImageId]) -> PaddedRegions:
        """Return the regions of a batch of images, padded to the largest number of regions among them.

        Raises:
            InputError: If an image is not in the store.
        """
        positions = np.array([self._position_of(image_id) for image_id in image_ids])
        rows = self._rows[positions]
        counts = rows[:, 1] - rows[:, 0]
        columns = self._open_columns()
        shape = (len(positions), int(counts.max(initial=0)))
        features = np.empty((*shape, self.feature_size), columns["features"].dtype)
        boxes = np.zeros((*shape, 4), np.float32)
        for n, (start, stop) in enumerate(rows.tolist()):
            features[n, : stop - start] = columns["features"][start:stop]
            features[n, stop - start :] = 0
            boxes[n, : stop - start] = columns["boxes"][start:stop]
        mask = np.arange(shape[1]) < counts[:, None]
        return PaddedRegions(features, boxes, mask, self._size[positions])

    def require_images(self, image_ids: Sequence[ImageId], source: str) -> None:
        """Check that the store has all images.

        Args:
            image_ids: Ids of the required images.
            source: File that names the images, for the message.

        Raises:
            InputError: If an image is missing; the message has the number of missing images and the
                first of them.
        """
        missing = [image_id for image_id in image_ids if image_id not in self._positions]
        if missing:
            raise InputError(
                f"{self.path}: {len(missing)} of {len(image_ids)} images of {source} have no regions in "
                f"this store, the first is {missing[0]!r}; extract their regions with bua extract"
            )

    def duplicate_claims(self, stored: Mapping[ImageId, ImageId], source: str) -> Iterator[str]:
        """Yield a line for every image whose id in the store is already taken by an earlier image.

        Args:
            stored: Ids of the images in the store by their ids in ``source``.
            source: File that names the images, for the messages.
        """
        claimed_by: dict[ImageId, ImageId] = {}
        for image_id, stored_id in stored.items():
            if claimed_by.setdefault(stored_id, image_id) != image_id:
                yield (
                    f"{self.path}: image {stored_id!r} matches two images of {source}: "
                    f"{claimed_by[stored_id]!r} and {image_id!r}"
                )

    def _position_of(self, image_id: ImageId) -> int:
        try:
            return self._positions[image_id]
        except KeyError:
            raise InputError(
                f"{self.path}: image {image_id!r} is not among the {len(self)} images of this store"
            ) from None

    def _open_columns(self) -> dict[str, Any]:
        if self._pid != os.getpid():  # an HDF5 handle must not cross a fork
            file = open_store(self.path)
            names = ["features", "boxes", *(name for name in OPTIONAL if name in file)]
            self._columns = {name: _map_column(file[name], self.path) for name in names}
            if all(isinstance(column, np.memmap) for column in self._columns.values()):
                file.close()
            self._pid = os.getpid()
        return self._columns

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pid": -1, "_columns": {}}


def open_store(path: Path) -> h5py.File:
    """Open a store for reading after checking its structure.

    Raises:
        InputError: If the file does not exist, is of another format, is truncated or is malicious.
    """
    if not path.is_file():
        raise InputError(f"{path}: file does not exist; create one with bua extract")
    if problems := verify_checksum(path):
        raise InputError(problems[0])
    if not has_checksum_header(path):
        status = path.stat()
        _check_readable(path, status.st_mtime_ns, status.st_size)
    return _open_checked(path)


def _open_checked(path: Path) -> h5py.File:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({error})") from None
    try:
        read_metadata(file, path)
        check_structure(file, path)
    except InputError:
        file.close()
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        file.close()
        raise InputError(f"{path}: damaged HDF5 file ({error})") from None
    return file


#: Opens a store and reads what describes it, in a process that damage may crash.
_PROBE = """
import sys
from pathlib import Path
from bua.store.reader import _open_checked
with _open_checked(Path(sys.argv[1])) as file:
    for name in file:
        file[name].id.get_offset()
        if name in ("image_id", "rows", "size"):
            file[name][:]
"""


@functools.lru_cache(maxsize=64)
def _check_readable(path: Path, modified: int, size: int) -> None:
    """Open a file without a checksum header in another process first: damage can crash the HDF5 library.

    Args:
        path: File to open.
        modified: Time of its last change, so that a changed file is checked again.
        size: Number of its bytes.

    Raises:
        InputError: If the process crashes or hangs.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _PROBE, str(path)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{path}: damaged: the HDF5 library does not finish reading it") from None
    if done.returncode < 0:
        raise InputError(f"{path}: damaged: the HDF5 library crashes on it")


def _map_column(dataset: h5py.Dataset, path: Path) -> Any:
    """Memory-map a column if it is contiguous in the file; otherwise return the HDF5 dataset."""
    offset = dataset.id.get_offset()
    if dataset.chunks is None and offset is not None and dataset.dtype.isnative and dataset.size:
        return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
    return dataset


def _read_ids(dataset: h5py.Dataset) -> list[ImageId]:
    values = dataset.asstr()[:] if dataset.dtype.kind in "OS" else dataset[:]
    return list(values.tolist())
