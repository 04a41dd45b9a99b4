"""From photographs to a feature store: decoding ahead of the detector, in shards, resumable."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from bua.errors import InputError
from bua.regions.detector import Detector, Photo, describe
from bua.regions.photo import read_photo
from bua.regions.photos import PhotoFile
from bua.store.atomic import write_text
from bua.store.reader import FeatureStore, ImageId
from bua.store.regions import Regions
from bua.store.writer import StoreWriter

#: Photographs are taken from a window of so many batches to make batches of one size.
WINDOW = 8


@dataclass(frozen=True)
class Extracted:
    """How an extraction went: images written, unreadable ones with the reason, and the time."""

    images: int
    regions: int
    errors: dict[ImageId, str]
    seconds: float
    new: int


class _Photos(Dataset[tuple[PhotoFile, Photo | str]]):
    """Decoded photographs, or why one could not be decoded."""

    def __init__(self, files: Sequence[PhotoFile]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[PhotoFile, Photo | str]:
        try:
            return self.files[index], read_photo(self.files[index].path)
        except InputError as error:
            return self.files[index], str(error)


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
) -> Extracted:
    """Write the regions of photographs to ``out``; go on where an interrupted run stopped.

    Which photographs share a batch depends only on the list, so that a resumed run computes the
    same numbers. Unreadable photographs are listed in ``errors.jsonl`` beside ``out``.

    Args:
        photos: what to extract, in the order of the file.
        detector: how.
        out: the feature store to make.
        batch_size: photographs of one size given to the detector at once.
        shard_size: photographs a shard; a kill costs at most one.
        workers: processes that decode.
        dtype: of the features, float16 or float32.
        max_errors: stop at more unreadable photographs than this.

    Raises:
        InputError: nothing can be read, too much cannot, or ``out`` cannot be written.
    """
    started = time.monotonic()
    about = describe(detector)
    if out.exists():
        return _finished(out, photos, about.identity)
    with StoreWriter(out, about, dtype) as writer:
        known = writer.done | set(writer.failed)
        todo = [photo for photo in photos if photo.image_id not in known]
        bar = tqdm(
            total=len(photos),
            initial=len(photos) - len(todo),
            unit=" images",
            disable=None,
            mininterval=0.5,
            file=sys.stderr,
            desc=out.name,
        )
        with bar:
            for start in range(0, len(todo), shard_size):
                shard = todo[start : start + shard_size]
                images, errors = _shard(shard, detector, batch_size, workers, bar)
                writer.write(images, errors)
                if max_errors is not None and len(writer.failed) > max_errors:
                    _list_errors(out, writer.failed)
                    raise InputError(
                        f"{len(writer.failed)} photographs cannot be read, more than max_errors="
                        f"{max_errors}; the last: {list(writer.failed.values())[-1]}"
                    )
        errors = {p.image_id: writer.failed[p.image_id] for p in photos if p.image_id in writer.failed}
        _list_errors(out, errors)
        if len(errors) == len(photos):
            raise InputError(
                f"none of {len(photos)} photographs can be read; the first: {errors[photos[0].image_id]}"
            )
        writer.pack([photo.image_id for photo in photos])
    store = FeatureStore(out)
    seconds = time.monotonic() - started
    return Extracted(len(store), int(store.counts().sum()), errors, seconds, len(todo))


def _finished(out: Path, photos: Sequence[PhotoFile], identity: dict[str, Any]) -> Extracted:
    """Accept a finished file that holds what is asked for."""
    store = FeatureStore(out)
    if store.about.identity != json.loads(json.dumps(identity)):
        raise InputError(f"{out}: made by another detector or with other options; give another out")
    log = errors_file(out)
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    errors = {record["image_id"]: record["error"] for record in map(json.loads, lines)}
    missing = [p.image_id for p in photos if p.image_id not in store and p.image_id not in errors]
    if missing:
        raise InputError(
            f"{out}: finished, but it lacks {len(missing)} of the {len(photos)} photographs, the first "
            f"is {missing[0]!r}; delete it or give another out"
        )
    return Extracted(len(store), int(store.counts().sum()), errors, 0.0, 0)


def errors_file(out: Path) -> Path:
    """Return where the unreadable photographs of a store are listed."""
    return out.with_name(f"{out.stem}.errors.jsonl")


def _list_errors(out: Path, errors: dict[ImageId, str]) -> None:
    path = errors_file(out)
    path.unlink(missing_ok=True)
    if errors:
        lines = (json.dumps({"image_id": i, "error": text}) for i, text in errors.items())
        write_text(path, "\n".join(lines) + "\n")


def _shard(
    photos: Sequence[PhotoFile], detector: Detector, batch_size: int, workers: int, bar: Any
) -> tuple[list[tuple[ImageId, Regions]], dict[ImageId, str]]:
    """Extract one shard; its images come in the order of the list."""
    loader = DataLoader(_Photos(photos), batch_size=None, num_workers=workers, collate_fn=_same)
    found: dict[ImageId, Regions] = {}
    errors: dict[ImageId, str] = {}
    for window in _windows(loader, batch_size * WINDOW):
        groups: dict[tuple[int, ...], list[tuple[PhotoFile, Photo]]] = {}
        for file, photo in window:
            if isinstance(photo, str):
                errors[file.image_id] = photo
            else:
                groups.setdefault(photo.shape, []).append((file, photo))
        for group in groups.values():
            for start in range(0, len(group), batch_size):
                batch = group[start : start + batch_size]
                regions = detector([photo for _, photo in batch])
                found |= {file.image_id: r for (file, _), r in zip(batch, regions, strict=True)}
        bar.update(len(window))
    return [(p.image_id, found[p.image_id]) for p in photos if p.image_id in found], errors


def _windows(loader: Any, size: int) -> Iterator[list[tuple[PhotoFile, Photo | str]]]:
    window: list[tuple[PhotoFile, Photo | str]] = []
    for item in loader:
        window.append(item)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window


def _same(item: Any) -> Any:
    return item
