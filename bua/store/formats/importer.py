"""Write the images of a foreign file into shards, skipping those that are already in a shard."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.io.progress import progress
from bua.store.formats.image_ids import parse_image_id, parse_number
from bua.store.formats.journal import ImportJournal
from bua.store.formats.source import InvalidImageError, RawImage, SourceImage
from bua.store.formats.validation import ImportRules, MissingFieldError, validate
from bua.store.reader import FeatureStore
from bua.store.writer import StoreWriter
from bua.structures.annotations import ImageId
from bua.structures.regions import Regions

#: Size at which a shard is written, in bytes of features.
SHARD_BYTES = 2**27
_DUPLICATE = "duplicate with equal regions, kept once"


class NonNumericIdError(Exception):
    """An id is not a number although earlier ids of the source were read as numbers."""


@dataclass(frozen=True)
class ImportLimits:
    """How ids are read, how large shards are, and how many images may be left out.

    Attributes:
        ids: How to interpret image ids: ``auto``, ``number`` or ``text``.
        shard_size: Number of images per shard.
        max_errors: Largest number of images that may be left out; ``None`` for no limit.
    """

    ids: str
    shard_size: int
    max_errors: int | None


def find_first_valid(
    items: Iterator[SourceImage], rules: ImportRules
) -> tuple[Iterable[SourceImage], SourceImage, Regions]:
    """Find the first valid image, which determines the columns and the feature size of the store.

    Returns:
        All images from the beginning, the first valid one, and its regions.

    Raises:
        InputError: If no image is valid, or the source lacks sizes or boxes that must be given.
    """
    seen: list[SourceImage] = []
    reasons: list[str] = []
    for item in items:
        try:
            raw = item.read()
            regions, _ = validate(raw, item.name, rules)
        except MissingFieldError as error:
            raise InputError(f"{rules.path}: {item.location}: {error}") from None
        except InvalidImageError as error:
            seen.append(replace(item, read=functools.partial(_raise_invalid, str(error))))
            reasons.append(f"{item.location}: {error}")
            continue
        seen.append(replace(item, read=functools.partial(_return_image, raw)))
        return chain(seen, items), item, regions
    if not reasons:
        raise InputError(f"{rules.path}: has no images")
    raise InputError(f"{rules.path}: none of its {len(reasons)} images is valid; the first: {reasons[0]}")


class Importer:
    """Writes the images of a source that are not in a shard yet.

    Args:
        writer: Open writer of the store.
        journal: Journal of the import.
        rules: How to complete and validate images.
        limits: How to read ids and when to write or stop.
        first: Regions of the first valid image, whose columns and feature size all images must have.

    Attributes:
        order: Ids of all images in the order of the source, as the keys of a dictionary.
        dropped: Reasons why images were left out, by their location in the source.
        tally: Number of images per repair that is not recorded in the journal.
        is_new: Whether no image was in a shard at the start.
        regions: Number of regions of the images written by this object.
    """

    def __init__(
        self,
        writer: StoreWriter,
        journal: ImportJournal,
        rules: ImportRules,
        limits: ImportLimits,
        first: Regions,
    ) -> None:
        self.writer, self.journal, self.rules, self.limits = writer, journal, rules, limits
        self.first = first
        self.order: dict[ImageId, None] = {}
        self.dropped: dict[str, str] = {}
        self.tally = Counter[str]()
        self._done = writer.done
        self.is_new, self.regions = not self._done, 0
        self._shard_names = {image: shard["shard"] for shard in writer.shards for image in shard["ids"]}
        self._batch: dict[ImageId, Regions] = {}
        self._repaired = Counter[str]()
        self._bytes = self._num_recorded = 0

    def run(self, items: Iterable[SourceImage], rule: str) -> None:
        """Write all images of a source.

        Args:
            items: Images of the source.
            rule: How to read ids, ``number`` or ``text``.

        Raises:
            NonNumericIdError: If ``limits.ids`` is ``auto`` and an id is not a number.
            InputError: If too many images are left out, or the shards cannot be written.
        """
        for item in progress(items):
            try:
                image = self._parse_id(item, rule)
                if image in self._done and image not in self.order:
                    self.order[image] = None
                    continue
                regions, repaired = validate(item.read(), image, self.rules)
                regions = _match_columns(regions, self.first, repaired)
                if image in self.order:
                    self._check_duplicate(image, regions)
                else:
                    self._add(image, regions, repaired)
            except InvalidImageError as error:
                self._drop(item.location, str(error))
        self._write()

    def _parse_id(self, item: SourceImage, rule: str) -> ImageId:
        if rule == "number" and self.limits.ids == "auto" and parse_number(item.name) is None:
            item.read()  # raises InvalidImageError: an invalid image must not decide how ids are read
            raise NonNumericIdError(f"{item.location}: the id {item.name!r:.80} is not a number")
        return parse_image_id(item.name, rule)

    def _add(self, image: ImageId, regions: Regions, repaired: Sequence[str]) -> None:
        self.order[image] = None
        self._batch[image] = regions
        self.regions += len(regions)
        self._bytes += regions.features.nbytes
        self._repaired.update(dict.fromkeys(repaired, 1))
        if len(self._batch) >= self.limits.shard_size or self._bytes >= SHARD_BYTES:
            self._write()

    def _write(self) -> None:
        errors: dict[ImageId, str] = dict(list(self.dropped.items())[self._num_recorded :])
        if self._batch or errors:
            self.journal.record(self._repaired)
            self.writer.write(list(self._batch.items()), errors)
            self._shard_names |= dict.fromkeys(self._batch, self.writer.shards[-1]["shard"])
        self._num_recorded = len(self.dropped)
        self._batch, self._repaired, self._bytes = {}, Counter(), 0

    def _drop(self, location: str, reason: str) -> None:
        self.dropped[location] = reason
        if self.limits.max_errors is not None and len(self.dropped) > self.limits.max_errors:
            self._write()
            raise InputError(
                f"{self.rules.path}: {len(self.dropped)} images are invalid, more than max_errors="
                f"{self.limits.max_errors}; the last: {location}: {reason}"
            )

    def _check_duplicate(self, image: ImageId, regions: Regions) -> None:
        earlier = self._batch.get(image)
        if earlier is None:
            earlier = _open_shard(self.writer.folder / self._shard_names[image])[image]
        if not earlier.equals(regions):
            raise InvalidImageError(f"duplicate of image {image!r} with other regions; the first one is kept")
        self.tally[_DUPLICATE] += 1


@functools.lru_cache(maxsize=4)
def _open_shard(shard: Path) -> FeatureStore:
    return FeatureStore(shard)


def _match_columns(regions: Regions, first: Regions, repaired: list[str]) -> Regions:
    """Return regions with the columns of the first image; surplus columns are removed and recorded.

    Raises:
        InvalidImageError: If a column is missing, or the feature size differs.
    """
    size, expected_size = regions.features.shape[1], first.features.shape[1]
    if size != expected_size:
        raise InvalidImageError(f"feature size must be {expected_size} as in the first image, got {size}")
    columns, expected = regions.arrays().keys(), first.arrays().keys()
    if expected - columns:
        raise InvalidImageError(f"{', '.join(sorted(expected - columns))} missing, which the first image has")
    if columns == expected:
        return regions
    surplus: dict[str, Any] = dict.fromkeys(sorted(columns - expected))
    repaired.append(f"{', '.join(surplus)} removed, which the first image does not have")
    return replace(regions, **surplus)


def _return_image(raw: RawImage) -> RawImage:
    return raw


def _raise_invalid(reason: str) -> RawImage:
    raise InvalidImageError(reason)
