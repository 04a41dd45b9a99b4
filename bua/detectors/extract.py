"""From photographs to a feature store: decoding ahead of the detector, in shards, resumable.

The list of photographs is cut into windows; a window is the unit of work. Its photographs are put
into batches of equal resized size, so that what a photograph is computed with depends on the list
alone: not on where an earlier run was stopped, nor on how many processes share the work.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from tqdm import tqdm

from bua.detectors.dataset import Boxes, Item, PhotoDataset
from bua.detectors.detector import Detector, store_metadata
from bua.detectors.photos import PhotoFile
from bua.detectors.resize import Prepared
from bua.detectors.shard import Shard
from bua.errors import InputError
from bua.io.atomic import write_text
from bua.store.reader import FeatureStore, ImageId
from bua.store.writer import StoreWriter, remove_leftovers

#: Photographs a window, at least; twice the batch if that is more.
WINDOW = 32
#: So many pixels, resized, are given to the detector at once, at most.
BATCH_PIXELS = 8_000_000
#: A shard is closed when its features fill so many bytes, so that memory stays bounded.
SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that share an extraction.

    Attributes:
        rank: of this process.
        size: how many there are.
        share: gives each process what every process gave.
    """

    rank: int = 0
    size: int = 1
    share: Callable[[Any], list[Any]] = field(default=lambda mine: [mine])


@dataclass(frozen=True)
class ExtractionResult:
    """How an extraction went.

    Attributes:
        images: in the file.
        regions: in the file.
        errors: the unreadable photographs, and why.
        seconds: that it took.
        detecting: seconds of these spent in the detector, of the first process.
        new: photographs that this run looked at.
    """

    images: int
    regions: int
    errors: dict[ImageId, str]
    seconds: float
    detecting: float
    new: int


def extract(
    photos: Sequence[PhotoFile],
    detector: Detector,
    out: Path,
    *,
    batch_size: int,
    shard_size: int,
    workers: int,
    dtype: str,
    max_errors: int | None,
    boxes: Boxes | None = None,
    boxes_sha256: str | None = None,
    team: ProcessGroup | None = None,
) -> ExtractionResult:
    """Write the regions of photographs to ``out``; go on where an interrupted run stopped.

    Unreadable photographs are listed in ``errors.jsonl`` beside ``out``. All processes of a team
    return the same or raise the same.

    Args:
        photos: what to extract, in the order of the file.
        detector: how.
        out: the feature store to make.
        batch_size: photographs of one resized size given to the detector at once.
        shard_size: photographs a shard at most; a kill costs at most one shard a process.
        workers: processes that decode and resize, for each process of the team.
        dtype: of the features, float16 or float32.
        max_errors: stop at more unreadable photographs than this.
        boxes: given boxes of every photograph, to take instead of proposals.
        boxes_sha256: of the file of the boxes.
        team: the processes that share the work; none for this one alone.

    Raises:
        InputError: nothing can be read, too much cannot, or ``out`` cannot be written.
    """
    job = _Job(
        photos=photos,
        detector=detector,
        out=out,
        batch_size=batch_size,
        shard_size=shard_size,
        workers=workers,
        dtype=dtype,
        max_errors=max_errors,
        boxes=boxes,
        given_boxes=boxes_sha256,
        team=team or ProcessGroup(),
    )
    return job.run()


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One extraction, as one process of the team sees it; fields as in ``extract``."""

    photos: Sequence[PhotoFile]
    detector: Detector
    out: Path
    batch_size: int
    shard_size: int
    workers: int
    dtype: str
    max_errors: int | None
    boxes: Boxes | None
    given_boxes: str | None
    team: ProcessGroup

    def run(self) -> ExtractionResult:
        more = {"given_boxes": self.given_boxes} if self.boxes is not None else {}
        metadata, started = store_metadata(self.detector, **more), time.monotonic()
        if any(self.team.share(self.out.exists() if self.team.rank == 0 else False)):
            found: ExtractionResult = self._together(lambda: self._finished(metadata.identity))
            return found
        writer = StoreWriter(self.out, metadata, self.dtype, rank=self.team.rank)
        first = self.team.rank == 0
        try:
            self._together(lambda: self._begin(writer) if first else None)
            self._together(lambda: None if first else self._begin(writer))
            new, detecting = self._together(lambda: self._work(writer))
            self._together(lambda: self._end(writer) if first else None)
        finally:
            writer.close()
        done: ExtractionResult = self._together(lambda: self._finished(metadata.identity))
        return replace(done, seconds=time.monotonic() - started, detecting=detecting, new=new)

    def _together(self, step: Callable[[], Any]) -> Any:
        """Do a step in every process and return what the first made of it, or raise for all."""
        mine: Any = None
        problem: str | None = None
        try:
            mine = step()
        except InputError as error:
            problem = str(error)
        every = self.team.share((problem, mine))
        problems = [text for text, _ in every if text is not None]
        if problems:
            raise InputError(problems[0])
        return every[0][1]

    def _begin(self, writer: StoreWriter) -> None:
        writer.open()
        if self.team.rank > 0:
            return
        _check_age(writer.manifest, self.photos, writer.done)
        known = writer.sources
        for photo in self.photos:
            if photo.image_id in known and _bytes(photo) != known[photo.image_id]:
                raise InputError(
                    f"{photo.path}: another file than its features in {writer.folder} were made from; "
                    "delete that or give another out"
                )

    def _end(self, writer: StoreWriter) -> None:
        writer.refresh()
        order = [photo.image_id for photo in self.photos]
        errors = {i: writer.failed[i] for i in order if i in writer.failed}
        _list_errors(self.out, errors)
        self._check_errors(errors)
        if len(errors) == len(order):
            raise InputError(f"none of {len(order)} photographs can be read; the first: {errors[order[0]]}")
        done = writer.done
        made = [photo for photo in self.photos if photo.image_id in done]
        writer.metadata = replace(writer.metadata, origin={"photographs": _fingerprint(made)})
        writer.pack(order)

    def _check_errors(self, errors: Mapping[ImageId, str]) -> None:
        if self.max_errors is not None and len(errors) > self.max_errors:
            raise InputError(
                f"{len(errors)} photographs cannot be read, more than max_errors={self.max_errors}; "
                f"the last: {list(errors.values())[-1]}"
            )

    @property
    def _window(self) -> int:
        return min(max(WINDOW, 2 * self.batch_size), self.shard_size)

    def _loader(self, todo: Sequence[PhotoFile]) -> Iterator[Item]:
        """Decode ahead: a window is ready when the detector has finished the one before."""
        dataset = PhotoDataset(todo, self.detector.resize, self.boxes)
        ahead = -(-self._window // self.workers) if self.workers else None
        loader = DataLoader(
            dataset, batch_size=None, num_workers=self.workers, collate_fn=_same, prefetch_factor=ahead
        )
        return iter(loader)

    def _windows(self, done: set[ImageId]) -> list[list[PhotoFile]]:
        """Return what is left to do of each window of this process."""
        size = self._window
        starts = range(0, len(self.photos), size)[self.team.rank :: self.team.size]
        windows = [[p for p in self.photos[s : s + size] if p.image_id not in done] for s in starts]
        return [window for window in windows if window]

    def _work(self, writer: StoreWriter) -> tuple[int, float]:
        """Extract the windows of this process; return photographs looked at and detector's seconds."""
        # oneDNN keeps what it prepared for each size of image, 1,024 of them unless told otherwise:
        # with photographs of many sizes that is memory which grows for hours
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
        windows = self._windows(writer.done)
        todo = [photo for window in windows for photo in window]
        items, shard, detecting = self._loader(todo), Shard(np.dtype(self.dtype)), 0.0
        bar = tqdm(
            total=len(todo),
            unit=" images",
            disable=None if self.team.rank == 0 else True,
            mininterval=0.5,
            file=sys.stderr,
            desc=self.out.name,
        )
        with bar:
            for window in windows:
                began = len(shard.images)
                for batch in self._batches([next(items) for _ in window], shard):
                    start = time.perf_counter()
                    found = self.detector([prepared for _, prepared in batch])
                    detecting += time.perf_counter() - start
                    shard.add([file.image_id for file, _ in batch], found)
                shard.sort(began, window)
                bar.update(len(window))
                if len(shard.images) + self._window > self.shard_size or shard.bytes >= SHARD_BYTES:
                    self._write(writer, shard)
            self._write(writer, shard)
        return len(todo), detecting

    def _write(self, writer: StoreWriter, shard: Shard) -> None:
        files = {photo.image_id: photo for photo in self.photos}
        sources = {image_id: _bytes(files[image_id]) for image_id, _ in shard.images}
        writer.write(shard.images, shard.errors, sources)
        shard.clear()
        if self.max_errors is not None and len(writer.failed) > self.max_errors:
            _list_errors(self.out, writer.failed)
            self._check_errors(writer.failed)

    def _batches(self, items: list[Item], shard: Shard) -> Iterator[list[tuple[PhotoFile, Prepared]]]:
        """Group the photographs of a window by size; note those that cannot be read."""
        groups: dict[tuple[int, int], list[tuple[PhotoFile, Prepared]]] = {}
        for file, prepared in items:
            if isinstance(prepared, str):
                shard.errors[file.image_id] = prepared
            else:
                groups.setdefault(prepared.frame.resized, []).append((file, prepared))
        for (height, width), group in groups.items():
            size = min(self.batch_size, max(1, BATCH_PIXELS // (height * width)))
            for start in range(0, len(group), size):
                yield group[start : start + size]

    def _check_origin(self, store: FeatureStore) -> None:
        """Raise ``InputError`` if the store was made from other photographs of the same names."""
        made = store.metadata.origin.get("photographs")
        files = {photo.image_id: photo for photo in self.photos}
        if made is None or not all(image_id in files for image_id in store):
            return  # a part of the photographs says nothing of the whole
        if _fingerprint([files[image_id] for image_id in store]) != made:
            raise InputError(
                f"{self.out}: made from other photographs of the same names; delete it or give another out"
            )

    def _possible(self, photo: PhotoFile) -> bool:
        """Say whether a photograph that failed before can be extracted now."""
        item = PhotoDataset([photo], self.detector.resize, self.boxes)[0]
        return not isinstance(item[1], str)

    def _finished(self, identity: dict[str, Any]) -> ExtractionResult:
        """Accept a finished file that holds what is asked for."""
        out, photos = self.out, self.photos
        if out.is_dir():
            raise InputError(f"{out}: is a folder, the name of a file is needed")
        if self.team.rank == 0:
            remove_leftovers(out)
        store = FeatureStore(out)
        kind = store[store.image_ids[0]].features.dtype
        names = store.metadata.class_names, store.metadata.attribute_names
        same = names == (tuple(self.detector.class_names), tuple(self.detector.attribute_names))
        if store.metadata.identity != identity or kind != self.dtype or not same:
            raise InputError(f"{out}: made by another detector or with other options; give another out")
        _check_age(out, photos, set(store.image_ids))
        self._check_origin(store)
        log = errors_file(out)
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        errors = {record["image_id"]: record["error"] for record in map(json.loads, lines)}
        missing = [p for p in photos if p.image_id not in store]
        missing = [p for p in missing if p.image_id not in errors or self._possible(p)]
        if missing:
            raise InputError(
                f"{out}: finished, but it lacks {len(missing)} of the {len(photos)} photographs, the first "
                f"is {missing[0].image_id!r}; delete it or give another out"
            )
        return ExtractionResult(len(store), int(store.counts().sum()), errors, 0.0, 0.0, 0)


def _bytes(photo: PhotoFile) -> int:
    """Return the size of a photograph's file, 0 where there is none any more."""
    return photo.path.stat().st_size if photo.path.exists() else 0


def _fingerprint(photos: Sequence[PhotoFile]) -> str:
    """Return a hash of ids and sizes of files, by which photographs are known again."""
    lines = "".join(f"{photo.image_id!r} {_bytes(photo)}\n" for photo in photos)
    return hashlib.sha256(lines.encode()).hexdigest()


def _check_age(made: Path, photos: Sequence[PhotoFile], there: set[ImageId]) -> None:
    """Raise ``InputError`` if a photograph has changed since its features were made."""
    made_at = made.stat().st_mtime_ns
    for photo in photos:
        if photo.image_id in there and photo.path.exists() and photo.path.stat().st_mtime_ns > made_at:
            raise InputError(
                f"{photo.path}: newer than its features in {made}; delete that or give another out"
            )


def errors_file(out: Path) -> Path:
    """Return where the unreadable photographs of a store are listed."""
    return out.with_name(f"{out.stem}.errors.jsonl")


def _list_errors(out: Path, errors: Mapping[ImageId, str]) -> None:
    path = errors_file(out)
    path.unlink(missing_ok=True)
    if errors:
        lines = (json.dumps({"image_id": i, "error": text}) for i, text in errors.items())
        write_text(path, "\n".join(lines) + "\n")


def _same(item: Any) -> Any:
    return item
