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
#: So many pixels are decoded ahead, and given to the detector at once, at most.
WINDOW_PIXELS, BATCH_PIXELS = 64_000_000, 8_000_000


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
        return _finished(out, photos, about.identity, dtype)
    with StoreWriter(out, about, dtype) as writer:
        _check_age(writer.manifest, photos, writer.done)
        known = writer.done | set(writer.failed)
        todo = [photo for photo in photos if photo.image_id not in known]
        # what failed before comes last, so that the others meet the same batches as before
        todo += [photo for photo in photos if photo.image_id in writer.failed]
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


def _finished(out: Path, photos: Sequence[PhotoFile], identity: dict[str, Any], dtype: str) -> Extracted:
    """Accept a finished file that holds what is asked for."""
    if out.is_dir():
        raise InputError(f"{out}: is a folder, the name of a file is needed")
    store = FeatureStore(out)
    kind = store[store.image_ids[0]].features.dtype
    if store.about.identity != json.loads(json.dumps(identity)) or kind != dtype:
        raise InputError(f"{out}: made by another detector or with other options; give another out")
    _check_age(out, photos, set(store.image_ids))
    log = errors_file(out)
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    errors = {record["image_id"]: record["error"] for record in map(json.loads, lines)}
    missing = [p for p in photos if p.image_id not in store]
    missing = [p for p in missing if p.image_id not in errors or _readable(p)]
    if missing:
        raise InputError(
            f"{out}: finished, but it lacks {len(missing)} of the {len(photos)} photographs, the first "
            f"is {missing[0].image_id!r}; delete it or give another out"
        )
    return Extracted(len(store), int(store.counts().sum()), errors, 0.0, 0)


def _readable(photo: PhotoFile) -> bool:
    try:
        read_photo(photo.path)
    except InputError:
        return False
    return True


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
        for (height, width, *_), group in groups.items():
            size = min(batch_size, max(1, BATCH_PIXELS // (height * width)))
            for start in range(0, len(group), size):
                batch = group[start : start + size]
                regions = detector([photo for _, photo in batch])
                found |= {file.image_id: r for (file, _), r in zip(batch, regions, strict=True)}
        bar.update(len(window))
    return [(p.image_id, found[p.image_id]) for p in photos if p.image_id in found], errors


def _windows(loader: Any, size: int) -> Iterator[list[tuple[PhotoFile, Photo | str]]]:
    """Gather photographs until there are ``size`` of them, or as many as memory should hold."""
    window: list[tuple[PhotoFile, Photo | str]] = []
    pixels = 0
    for file, photo in loader:
        window.append((file, photo))
        pixels += 0 if isinstance(photo, str) else photo.shape[0] * photo.shape[1]
        if len(window) == size or pixels >= WINDOW_PIXELS:
            yield window
            window, pixels = [], 0
    if window:
        yield window


def _same(item: Any) -> Any:
    return item
