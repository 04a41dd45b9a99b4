"""``FeatureWriter``: write a feature store from Python, image by image.

Shapes: K regions of an image, D region features.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bua import __version__
from bua.errors import InputError
from bua.store.check import BOX_TOLERANCE
from bua.store.reader import FeatureStore
from bua.store.schema import StoreMetadata
from bua.store.writer import StoreWriter
from bua.structures.annotations import ImageId
from bua.structures.regions import OPTIONAL, Regions

#: Size at which images are written, in bytes of features.
SHARD_BYTES = 2**27
#: Types that features may be stored in.
DTYPES = ("float16", "float32")


class FeatureWriter:
    """Writes the features that you computed into a feature store; a context manager.

    Images are written in shards next to the file. At the end of the ``with`` block, they become one file
    under its final name. If the program fails or is killed before, start it again and add only the images
    that are not ``in`` the writer yet.

    >>> with FeatureWriter("regions.h5", detector="my_detector") as writer:  # doctest: +SKIP
    ...     for image_id, path in photos.items():
    ...         if image_id not in writer:
    ...             features, boxes, size = detect(path)
    ...             writer.add(image_id, features, boxes, size)

    Args:
        out: Store to create.
        detector: Name of the detector. A model accepts only features of the detector, configuration and
            weights that it was trained on.
        configuration: Plain values that influence the features, such as a threshold. Default: none.
        weights_sha256: SHA-256 of the weights of the detector. Default: "unknown".
        class_names: Names of the classes, without a background. Default: none.
        attribute_names: Names of the attributes. Default: none.
        dtype: Type in which features are stored, "float16" or "float32". Default: "float16".
        shard_size: Number of images after which a shard is written; a killed program loses at most one shard.
            Default: 2000.

    Raises:
        InputError: If the file exists, another process writes it, an option is wrong, or an interrupted
            program wrote images of another detector.
    """

    def __init__(
        self,
        out: Path | str,
        *,
        detector: str,
        configuration: Mapping[str, Any] | None = None,
        weights_sha256: str = "unknown",
        class_names: Sequence[str] = (),
        attribute_names: Sequence[str] = (),
        dtype: str = "float16",
        shard_size: int = 2000,
    ) -> None:
        self.out = Path(out)
        if self.out.exists():
            raise InputError(f"{self.out}: already exists; delete it or choose another name")
        if dtype not in DTYPES:
            raise InputError(f"dtype={dtype}: must be {' or '.join(DTYPES)}")
        if shard_size < 1:
            raise InputError(f"shard_size={shard_size}: must be at least 1")
        metadata = StoreMetadata(
            detector,
            dict(configuration or {}),
            weights_sha256,
            tuple(class_names),
            tuple(attribute_names),
            versions={"bua": __version__, "numpy": np.__version__},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._writer = StoreWriter(self.out, metadata, dtype)
        self._names = {"class_id": len(class_names), "attribute_id": len(attribute_names)}
        self._shard_size = shard_size
        self._batch: dict[ImageId, Regions] = {}
        self._bytes = 0
        self._order: dict[ImageId, None] = {}
        self._first: tuple[ImageId, Regions] | None = None

    def __enter__(self) -> "FeatureWriter":
        self._writer.open()
        self._order = dict.fromkeys(i for shard in self._writer.shards for i in shard["ids"])
        shard = next((shard for shard in self._writer.shards if shard["shard"]), None)
        if shard is not None:
            store = FeatureStore(self._writer.folder / shard["shard"])
            self._first = shard["ids"][0], store[shard["ids"][0]]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write()
                self._writer.pack(list(self._order))
        finally:
            self._writer.close()

    def __contains__(self, image_id: object) -> bool:
        """Return whether an image was added, now or by an interrupted program."""
        return image_id in self._order

    def __len__(self) -> int:
        return len(self._order)

    def add(
        self,
        image_id: ImageId,
        features: ArrayLike,
        boxes: ArrayLike,
        size: tuple[int, int],
        *,
        class_id: ArrayLike | None = None,
        class_score: ArrayLike | None = None,
        attribute_id: ArrayLike | None = None,
        attribute_score: ArrayLike | None = None,
    ) -> None:
        """Add the regions of one image.

        Args:
            image_id: Id of the image; all ids are integers, or all are texts.
            features: Region features, shape (K, D); K may differ between images, D may not.
            boxes: Corners x1 y1 x2 y2 in pixels of the image after EXIF rotation, shape (K, 4).
            size: Height and width of that image in pixels.
            class_id: Positions in ``class_names``, shape (K,). Default: none, for all images.
            class_score: Class probabilities, 0 to 1, shape (K,). Default: none, for all images.
            attribute_id: Positions in ``attribute_names``, shape (K,). Default: none, for all images.
            attribute_score: Attribute probabilities, 0 to 1, shape (K,). Default: none, for all images.

        Raises:
            InputError: If an array has the wrong shape or type, a value is out of range, the image was added
                before, or it has other columns than the first image.
        """
        image_id = _checked_id(self.out, image_id)
        given = zip(OPTIONAL, (class_id, class_score, attribute_id, attribute_score), strict=True)
        columns = {name: _array(image_id, name, v, OPTIONAL[name]) for name, v in given if v is not None}
        stored = _array(image_id, "features", features, self._writer.dtype.type)
        corners = _array(image_id, "boxes", boxes, np.float32)
        regions = Regions(stored, corners, _checked_size(image_id, size), **columns)
        regions.check(image_id)
        _check_values(image_id, regions, self._names)
        self._check_alike(image_id, regions)
        self._order[image_id] = None
        self._batch[image_id] = regions
        self._bytes += regions.features.nbytes
        if len(self._batch) >= self._shard_size or self._bytes >= SHARD_BYTES:
            self._write()

    def _check_alike(self, image_id: ImageId, regions: Regions) -> None:
        """Raise ``InputError`` if an image is known, or of another kind than the first."""
        if image_id in self._order:
            raise InputError(f"{self.out}: image {image_id!r} is duplicated")
        if self._first is None:
            self._first = image_id, regions
        known, first = self._first
        if isinstance(image_id, str) != isinstance(known, str):
            raise InputError(
                f"{self.out}: ids must be all integers or all texts, got {known!r} and {image_id!r}"
            )
        size, expected = regions.features.shape[1], first.features.shape[1]
        if size != expected:
            raise InputError(
                f"image {image_id}: features have size {size}, those of image {known} {expected}"
            )
        if regions.arrays().keys() != first.arrays().keys():
            raise InputError(
                f"image {image_id}: has {', '.join(regions.arrays())}, but image {known} has "
                f"{', '.join(first.arrays())}"
            )

    def _write(self) -> None:
        if self._batch:
            self._writer.write(list(self._batch.items()))
            self._batch, self._bytes = {}, 0


def _array(image_id: ImageId, name: str, values: ArrayLike, dtype: Any) -> NDArray[Any]:
    """Return an array of a type of the store.

    Raises:
        InputError: If the values are not numbers, no integers where ids are expected, or beyond the type.
    """
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"image {image_id}: {name} are not an array ({error})") from None
    wanted = np.dtype(dtype)
    kinds = "iu" if wanted.kind == "i" else "fiu"
    if array.dtype.kind not in kinds:
        needed = "integers" if wanted.kind == "i" else "numbers"
        raise InputError(f"image {image_id}: {name} must be {needed}, got {array.dtype}")
    with np.errstate(over="ignore"):
        stored = array.astype(wanted)
    if wanted == np.float16 and np.isfinite(array).all() and not np.isfinite(stored).all():
        raise InputError(f"image {image_id}: {name} beyond 65504 do not fit float16; give dtype='float32'")
    return stored


def _checked_id(out: Path, image_id: Any) -> ImageId:
    if isinstance(image_id, str):
        return image_id
    if isinstance(image_id, int | np.integer) and not isinstance(image_id, bool):
        return int(image_id)
    raise InputError(f"{out}: image id {image_id!r} must be an integer or a text")


def _checked_size(image_id: ImageId, size: Any) -> tuple[int, int]:
    values = np.asarray(size)
    if values.shape != (2,) or values.dtype.kind not in "iu" or values.min() < 1:
        raise InputError(f"image {image_id}: size={size}: must be height and width in pixels, at least 1")
    return int(values[0]), int(values[1])


def _check_values(image_id: ImageId, regions: Regions, num_names: Mapping[str, int]) -> None:
    """Raise ``InputError`` if a box is outside of the image, or an id or a score out of range."""
    height, width = regions.size
    x1, y1, x2, y2 = regions.boxes.T
    outside = (x1 < -BOX_TOLERANCE) | (y1 < -BOX_TOLERANCE)
    outside |= (x2 > width + BOX_TOLERANCE) | (y2 > height + BOX_TOLERANCE) | (x2 < x1) | (y2 < y1)
    if outside.any():
        number = int(outside.argmax())
        raise InputError(
            f"image {image_id}: box {number} is {regions.boxes[number].tolist()}, must be x1 y1 x2 y2 in an "
            f"image of {width} x {height} pixels"
        )
    columns: dict[str, NDArray[Any]] = regions.arrays()
    for name, values in columns.items():
        if name.endswith("_score") and not ((values >= 0) & (values <= 1)).all():
            raise InputError(f"image {image_id}: {name} must be between 0 and 1")
        if name in num_names:
            last = num_names[name] - 1 if num_names[name] else np.iinfo(np.int32).max
            if not ((values >= 0) & (values <= last)).all():
                raise InputError(f"image {image_id}: {name} must be between 0 and {last}")
