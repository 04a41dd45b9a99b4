"""Reading a feature store: by image id, lazily, safe in the workers of a ``DataLoader``."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.errors import InputError
from bua.store.checksum import verify_checksum
from bua.store.schema import StoreMetadata, check_rows, check_structure, read_metadata
from bua.structures.regions import OPTIONAL, Regions

ImageId = int | str


@dataclass(frozen=True)
class PaddedRegions:
    """The regions of several images side by side.

    Attributes:
        features: (B, K, D), in the type of the store; zeros where there is no region.
        boxes: (B, K, 4), pixels.
        mask: (B, K), true where there is a region.
        size: (B, 2), height and width of each image.
    """

    features: NDArray[np.floating]
    boxes: NDArray[np.float32]
    mask: NDArray[np.bool_]
    size: NDArray[np.int32]


class FeatureStore:
    """Read-only regions by image id.

    The file is checked on opening and its columns are memory-mapped, so that nothing is inherited
    across a fork; a file that cannot be mapped is opened anew in every process. It pickles as its
    path.

    Args:
        path: a file of format ``bua-regions``.

    Raises:
        InputError: there is no such file, or it is damaged or of another format.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._process, self._columns = -1, dict[str, Any]()
        with open_store(self.path) as file:
            self.metadata: StoreMetadata = read_metadata(file, self.path)
            try:
                self.image_ids: list[ImageId] = _ids(file["image_id"])
                self._rows: NDArray[np.int64] = file["rows"][:]
                self._size: NDArray[np.int32] = file["size"][:]
            except (OSError, RuntimeError, TypeError, ValueError) as error:
                raise InputError(f"{self.path}: damaged HDF5 file ({error})") from None
            self.feature_size = int(file["features"].shape[1])
            check_rows(self._rows, len(file["boxes"]), self.path)
        self._position = {image_id: n for n, image_id in enumerate(self.image_ids)}
        if len(self._position) != len(self.image_ids):
            raise InputError(f"{self.path}: an image id comes twice")

    def __len__(self) -> int:
        return len(self.image_ids)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._position

    def __iter__(self) -> Iterator[ImageId]:
        return iter(self.image_ids)

    def __getitem__(self, image_id: ImageId) -> Regions:
        """Return the regions of one image, as views of the file where it is mapped.

        Raises:
            InputError: the store lacks the image.
        """
        n = self._find(image_id)
        start, stop = self._rows[n]
        arrays = {name: column[start:stop] for name, column in self._open().items()}
        return Regions(size=(int(self._size[n, 0]), int(self._size[n, 1])), **arrays)

    def counts(self) -> NDArray[np.int64]:
        """Return the number of regions of every image, in the order of ``image_ids``."""
        counts: NDArray[np.int64] = self._rows[:, 1] - self._rows[:, 0]
        return counts

    def padded(self, image_ids: Sequence[ImageId]) -> PaddedRegions:
        """Return the regions of a batch of images, padded to the largest number among them."""
        which = np.array([self._find(image_id) for image_id in image_ids])
        rows = self._rows[which]
        counts = rows[:, 1] - rows[:, 0]
        columns = self._open()
        shape = (len(which), int(counts.max(initial=0)))
        features = np.empty((*shape, self.feature_size), columns["features"].dtype)
        boxes = np.zeros((*shape, 4), np.float32)
        for n, (start, stop) in enumerate(rows.tolist()):
            features[n, : stop - start] = columns["features"][start:stop]
            features[n, stop - start :] = 0
            boxes[n, : stop - start] = columns["boxes"][start:stop]
        mask = np.arange(shape[1]) < counts[:, None]
        return PaddedRegions(features, boxes, mask, self._size[which])

    def require(self, image_ids: Sequence[ImageId], source: str) -> None:
        """Raise ``InputError`` naming the first missing image if any of ``image_ids`` is missing."""
        missing = [image_id for image_id in image_ids if image_id not in self._position]
        if missing:
            raise InputError(
                f"{self.path}: {len(missing)} of the {len(image_ids)} images of {source} have no "
                f"regions here, the first is {missing[0]!r}; extract them into it"
            )

    def claimed_twice(self, stored: Mapping[ImageId, ImageId], source: str) -> Iterator[str]:
        """Yield a line for every image that is stored under the id of an earlier one.

        Args:
            stored: the ids that images have here, by their ids in ``source``.
            source: the file that names the images.
        """
        owner: dict[ImageId, ImageId] = {}
        for image_id, own in stored.items():
            if owner.setdefault(own, image_id) != image_id:
                yield (
                    f"{self.path}: its image {own!r} would be two images of {source}: "
                    f"{owner[own]!r} and {image_id!r}"
                )

    def _find(self, image_id: ImageId) -> int:
        try:
            return self._position[image_id]
        except KeyError:
            raise InputError(
                f"{self.path}: there are no regions of image {image_id!r} among its {len(self)} images"
            ) from None

    def _open(self) -> dict[str, Any]:
        if self._process != os.getpid():  # an HDF5 handle must not cross a fork
            file = open_store(self.path)
            names = ["features", "boxes", *(name for name in OPTIONAL if name in file)]
            self._columns = {name: _column(file[name], self.path) for name in names}
            if all(isinstance(column, np.memmap) for column in self._columns.values()):
                file.close()
            self._process = os.getpid()
        return self._columns

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": -1, "_columns": {}}


def open_store(path: Path) -> h5py.File:
    """Open a file for reading and refuse what is not a sound store.

    Raises:
        InputError: there is no such file, or it is not of the format, truncated or hostile.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; bua extract makes one")
    if problems := verify_checksum(path):
        raise InputError(problems[0])
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


def _column(dataset: h5py.Dataset, path: Path) -> Any:
    """Map a column that lies in one piece; otherwise read through HDF5."""
    offset = dataset.id.get_offset()
    if dataset.chunks is None and offset is not None and dataset.dtype.isnative and dataset.size:
        return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
    return dataset


def _ids(dataset: h5py.Dataset) -> list[ImageId]:
    values = dataset.asstr()[:] if dataset.dtype.kind in "OS" else dataset[:]
    return list(values.tolist())
