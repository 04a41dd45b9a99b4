"""From images to a feature store: decoded ahead of the detector, written in shards, resumable.

The list of images is cut into windows, which are the unit of work. The images of a window are put into
batches of one resized size, so that what an image is batched with depends only on the list: not on where an
earlier run was interrupted, nor on how many processes divide the work.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bua.detectors.dataset import Item, PhotoDataset, batch_by_size, load_ahead
from bua.detectors.detector import Detector, store_metadata
from bua.detectors.given_boxes import GivenBoxes
from bua.detectors.photo import PreparedImage
from bua.detectors.photo_files import PhotoFile
from bua.detectors.photo_remarks import Remark, describe_remarks
from bua.detectors.resume import (
    file_bytes,
    fingerprint,
    read_errors,
    require_not_newer,
    require_same_detector,
    require_same_files,
    require_same_photos,
    write_errors,
)
from bua.errors import InputError
from bua.io.progress import counter
from bua.io.write import check_replaceable
from bua.store.reader import FeatureStore
from bua.store.writer import StoreWriter, remove_leftovers
from bua.structures.annotations import ImageId
from bua.structures.regions import Regions

DTYPES = ("float16", "float32")
#: Minimum number of images of a window; twice the batch size if that is more.
WINDOW = 32
#: A shard is written when its features reach this size, so that memory stays bounded.
SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """Options of an extraction.

    Attributes:
        batch_size: Maximum number of images of one resized size that the detector is given at once.
        shard_size: Maximum number of images of a shard; a killed process loses at most one shard.
        num_workers: Number of processes that decode and resize images, for each process that detects.
        dtype: Type of the stored features, ``float16`` or ``float32``.
        max_errors: Number of unreadable images above which the extraction stops, or None for no limit.
        stretch_gray: Whether grays of more than 8 bits are scaled from the range of values of their image,
            which is part of the identity of the features.

    Raises:
        InputError: If the type is neither.
    """

    batch_size: int
    shard_size: int
    num_workers: int
    dtype: str
    max_errors: int | None
    stretch_gray: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"dtype={self.dtype}: must be {' or '.join(DTYPES)}")

    @property
    def window_size(self) -> int:
        """Number of images of a window."""
        return min(max(WINDOW, 2 * self.batch_size), self.shard_size)


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that divide the work of an extraction. By default this one alone.

    Attributes:
        rank: Rank of this process.
        world_size: Number of processes.
        all_gather: Function that gives every process the list of the values that all processes passed.
    """

    rank: int = 0
    world_size: int = 1
    all_gather: Callable[[Any], list[Any]] = field(default=lambda value: [value])

    @property
    def is_first(self) -> bool:
        """Whether this is the process of rank 0, which opens and packs the store."""
        return self.rank == 0

    def run(self, step: Callable[[], Any]) -> Any:
        """Run a step in every process and return the result of the first.

        Raises:
            InputError: In every process, if one of them raised it.
        """
        result: Any = None
        problem: str | None = None
        try:
            result = step()
        except InputError as error:
            problem = str(error)
        gathered = self.all_gather((problem, result))
        problems = [text for text, _ in gathered if text is not None]
        if problems:
            raise InputError(problems[0])
        return gathered[0][1]


@dataclass(frozen=True)
class ExtractionResult:
    """Outcome of an extraction.

    Attributes:
        num_images: Number of images in the store.
        num_regions: Number of regions in the store.
        errors: Reasons why images could not be read, by image id.
        seconds: Duration of the extraction; 0 if the store was finished before.
        detector_seconds: Time that the first process spent in the detector.
        num_processed: Number of images that the first process processed; 0 if the store was finished before.
        remarks: Lines about images that were decoded with losses, in this run.
    """

    num_images: int
    num_regions: int
    errors: dict[ImageId, str]
    seconds: float = 0.0
    detector_seconds: float = 0.0
    num_processed: int = 0
    remarks: list[str] = field(default_factory=list)


def extract(
    photos: Sequence[PhotoFile],
    detector: Detector,
    out: Path,
    options: ExtractionOptions,
    *,
    boxes: GivenBoxes | None = None,
    group: ProcessGroup | None = None,
) -> ExtractionResult:
    """Write the regions of images to a feature store, resuming where an interrupted run stopped.

    Unreadable images are listed in ``errors_file(out)``. All processes of a group return the same result or
    raise the same error.

    Args:
        photos: Image files, in the order of the store.
        detector: Detector that finds the regions.
        out: Feature store to write.
        options: Options of the extraction.
        boxes: Given boxes of every image to use instead of proposals. Default: none.
        group: Processes that divide the work. Default: this one alone.

    Raises:
        InputError: If no image can be read, or more than ``max_errors`` cannot, or ``out`` cannot be
            written or was created in another way.
    """
    return _Extraction(photos, detector, out, options, boxes, group or ProcessGroup()).run()


@dataclass(frozen=True)
class _Extraction:
    """The part of one process in an extraction; the fields are the arguments of ``extract``."""

    photos: Sequence[PhotoFile]
    detector: Detector
    out: Path
    options: ExtractionOptions
    boxes: GivenBoxes | None
    group: ProcessGroup

    def run(self) -> ExtractionResult:
        started, group = time.monotonic(), self.group
        given: dict[str, Any] = {"given_boxes": self.boxes.sha256} if self.boxes is not None else {}
        if self.options.stretch_gray:
            given["stretch_gray"] = True
        metadata = store_metadata(self.detector, **given)
        result: ExtractionResult
        # The first process decides for all, in case it creates the file before the others look.
        if any(group.all_gather(group.is_first and self.out.exists())):
            result = group.run(lambda: self._accept_finished(metadata.identity))
            return result
        writer = StoreWriter(self.out, metadata, self.options.dtype, rank=group.rank)
        try:
            # The first process cleans up and opens the shards before the others open theirs.
            group.run(lambda: self._open(writer) if group.is_first else None)
            group.run(lambda: None if group.is_first else writer.open())
            remarks: list[tuple[str, Remark]] = []
            num_processed, detector_seconds = group.run(lambda: self._process(writer, remarks))
            remarks = [remark for gathered in group.all_gather(remarks) for remark in gathered]
            group.run(lambda: self._pack(writer) if group.is_first else None)
        finally:
            writer.close()
        result = group.run(lambda: self._accept_finished(metadata.identity))
        return replace(
            result,
            seconds=time.monotonic() - started,
            detector_seconds=detector_seconds,
            num_processed=num_processed,
            remarks=list(describe_remarks(remarks)),
        )

    def _open(self, writer: StoreWriter) -> None:
        """Open the writer in the first process, and check what an interrupted run extracted."""
        writer.open()
        require_not_newer(self.photos, writer.done, writer.manifest)
        require_same_files(self.photos, writer.source_sizes, writer.folder)

    def _process(self, writer: StoreWriter, remarks: list[tuple[str, Remark]]) -> tuple[int, float]:
        """Extract the windows of this process, and collect remarks about its images.

        Returns:
            Number of images, and seconds that the detector took.
        """
        # oneDNN caches what it prepared for each image size, by default 1,024 of them; with images of many
        # sizes that memory grows for hours.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
        windows = self._windows(writer.done)
        todo = [photo for window in windows for photo in window]
        dataset = self._dataset(todo)
        items = load_ahead(dataset, self.options.num_workers, self.options.window_size)
        shard, detector_seconds = _Shard(np.dtype(self.options.dtype)), 0.0
        with counter(len(todo), name=self.out.name, is_shown=self.group.is_first) as bar:
            for window in windows:
                prepared = [next(items) for _ in window]
                remarks += [
                    (str(photo.path), remark)
                    for photo, image in prepared
                    if not isinstance(image, str)
                    for remark in image.remarks
                ]
                detector_seconds += self._detect(window, prepared, shard)
                bar.update(len(window))
                is_full = len(shard.images) + self.options.window_size > self.options.shard_size
                if is_full or shard.num_bytes >= SHARD_BYTES:
                    self._write(writer, shard)
            self._write(writer, shard)
        return len(todo), detector_seconds

    def _windows(self, done: set[ImageId]) -> list[list[PhotoFile]]:
        """Return the images that are not done yet of each window of this process."""
        size = self.options.window_size
        starts = range(0, len(self.photos), size)[self.group.rank :: self.group.world_size]
        windows = [[p for p in self.photos[s : s + size] if p.image_id not in done] for s in starts]
        return [window for window in windows if window]

    def _detect(self, window: Sequence[PhotoFile], items: Sequence[Item], shard: "_Shard") -> float:
        """Add the regions of the images of a window to a shard; return the detector's seconds."""
        start_index, seconds = len(shard.images), 0.0
        for batch in batch_by_size(self._readable(items, shard), self.options.batch_size):
            start = time.perf_counter()
            regions = self.detector([image for _, image in batch])
            seconds += time.perf_counter() - start
            shard.add([photo.image_id for photo, _ in batch], regions)
        shard.sort(start_index, window)
        return seconds

    @staticmethod
    def _readable(items: Sequence[Item], shard: "_Shard") -> Iterator[tuple[PhotoFile, PreparedImage]]:
        """Yield the images that could be read, and add the reasons why others could not to the shard."""
        for photo, image in items:
            if isinstance(image, str):
                shard.errors[photo.image_id] = image
            else:
                yield photo, image

    def _write(self, writer: StoreWriter, shard: "_Shard") -> None:
        photos = {photo.image_id: photo for photo in self.photos}
        source_sizes = {image_id: file_bytes(photos[image_id]) for image_id, _ in shard.images}
        writer.write(shard.images, shard.errors, source_sizes)
        shard.clear()
        if self.options.max_errors is not None and len(writer.failed) > self.options.max_errors:
            write_errors(self.out, writer.failed)
            self._check_errors(writer.failed)

    def _check_errors(self, errors: Mapping[ImageId, str]) -> None:
        limit = self.options.max_errors
        if limit is not None and len(errors) > limit:
            raise InputError(
                f"{len(errors)} images cannot be read, more than max_errors={limit}; "
                f"the last: {list(errors.values())[-1]}"
            )

    def _pack(self, writer: StoreWriter) -> None:
        """Pack the shards of all processes into the store, and list the unreadable images."""
        writer.refresh()
        order = [photo.image_id for photo in self.photos]
        errors = {i: writer.failed[i] for i in order if i in writer.failed}
        write_errors(self.out, errors)
        self._check_errors(errors)
        if len(errors) == len(order):
            raise InputError(f"none of {len(order)} images can be read; the first: {errors[order[0]]}")
        done = writer.done
        extracted = [photo for photo in self.photos if photo.image_id in done]
        writer.metadata = replace(writer.metadata, origin={"photographs": fingerprint(extracted)})
        writer.pack(order)

    def _accept_finished(self, identity: Mapping[str, Any]) -> ExtractionResult:
        """Return the result for a finished store after checking that it is the one asked for."""
        out, photos = self.out, self.photos
        check_replaceable(out)
        if self.group.is_first:
            remove_leftovers(out)
        store = FeatureStore(out)
        require_same_detector(store, self.detector, identity, self.options.dtype)
        require_same_photos(store, photos)
        errors = read_errors(out)
        missing = [photo for photo in photos if photo.image_id not in store]
        missing = [photo for photo in missing if photo.image_id not in errors or self._is_readable(photo)]
        if missing:
            raise InputError(
                f"{out}: finished, but lacks {len(missing)} of {len(photos)} images, the first is "
                f"{missing[0].image_id!r}; delete it or choose another out"
            )
        return ExtractionResult(len(store), int(store.counts().sum()), errors)

    def _is_readable(self, photo: PhotoFile) -> bool:
        """Return whether an image that could not be read before can be read now."""
        _, image = self._dataset([photo])[0]
        return not isinstance(image, str)

    def _dataset(self, photos: Sequence[PhotoFile]) -> PhotoDataset:
        stretch_gray = self.options.stretch_gray
        return PhotoDataset(photos, self.detector.resize, self.boxes, stretch_gray=stretch_gray)


class _Shard:
    """Regions and errors since the last shard was written, with features in the type of the store."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.clear()

    def clear(self) -> None:
        """Start a new shard."""
        self.images: list[tuple[ImageId, Regions]] = []
        self.errors: dict[ImageId, str] = {}
        self.num_bytes = 0

    def add(self, image_ids: Sequence[ImageId], regions: Sequence[Regions]) -> None:
        """Add the regions of a batch of images."""
        for image_id, image_regions in zip(image_ids, regions, strict=True):
            image_regions.check(image_id)
            with np.errstate(over="ignore"):
                features = image_regions.features.astype(self.dtype)
            if not np.isfinite(features).all():
                raise InputError(
                    f"image {image_id}: features above 65504 do not fit into float16; use dtype=float32"
                )
            self.images.append((image_id, replace(image_regions, features=features)))
            self.num_bytes += features.nbytes

    def sort(self, start: int, window: Sequence[PhotoFile]) -> None:
        """Put the images from index ``start`` on into the order of a window."""
        position = {photo.image_id: n for n, photo in enumerate(window)}
        self.images[start:] = sorted(self.images[start:], key=lambda image: position[image[0]])
