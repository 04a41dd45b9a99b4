"""One passage of a foreign file into shards: what is there already is not even decoded."""

import functools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bua.errors import InputError
from bua.store.alike import same_regions
from bua.store.formats.image_ids import image_id, number
from bua.store.formats.item import InvalidImageError, Item, Raw
from bua.store.formats.journal import ImportJournal
from bua.store.formats.validation import ImportRules, MissingFieldError, validate
from bua.store.reader import FeatureStore, ImageId
from bua.store.writer import StoreWriter
from bua.structures.regions import Regions

#: A shard holds so many bytes of features at most.
SHARD_BYTES = 2**27
_TWICE = "images that came twice, the same both times: kept once"


class NonNumericIdError(Exception):
    """An id turned out not to be a number after others were taken for numbers."""


@dataclass(frozen=True)
class Limits:
    """How ids are read, how large shards are, and how much may be left out.

    Attributes:
        ids: ``auto``, ``number`` or ``text``.
        shard_size: images a shard.
        max_errors: images that may be left out; ``None`` for any number.
    """

    ids: str
    shard_size: int
    max_errors: int | None


def first_valid(items: Iterator[Item], rules: ImportRules) -> tuple[Iterable[Item], Item, Regions]:
    """Find the first image that can be used: what the others must be like follows from it.

    Returns:
        All items once more, that image, and its regions.

    Raises:
        InputError: there is none, or one lacks what a format lacks as a whole.
    """
    passed: list[Item] = []
    reasons: list[str] = []
    for item in items:
        try:
            raw = item.read()
            regions, _ = validate(raw, item.name, rules)
        except MissingFieldError as error:
            raise InputError(f"{rules.path}: {item.where}: {error}") from None
        except InvalidImageError as error:
            passed.append(replace(item, read=functools.partial(_again, str(error))))
            reasons.append(f"{item.where}: {error}")
            continue
        passed.append(replace(item, read=functools.partial(_same, raw)))
        return chain(passed, items), item, regions
    if not reasons:
        raise InputError(f"{rules.path}: there are no images in it")
    raise InputError(f"{rules.path}: none of its {len(reasons)} images can be used; the first: {reasons[0]}")


class Importer:
    """Writes the images of a source that are not written yet.

    Args:
        writer: open.
        journal: of this import.
        rules: of reading.
        limits: of writing.
        first: regions that all others must be like.

    Attributes:
        order: ids of all images, in the order of the source.
        dropped: why images were left out, by their place in the source.
        tally: what happened to how many images, beside what the journal has.
        new: no image was there before.
        regions: of the images that were not there before.
    """

    def __init__(
        self, writer: StoreWriter, journal: ImportJournal, rules: ImportRules, limits: Limits, first: Regions
    ) -> None:
        self.writer, self.journal, self.rules, self.limits = writer, journal, rules, limits
        self.first = first
        self.order: dict[ImageId, None] = {}
        self.dropped: dict[str, str] = {}
        self.tally = Counter[str]()
        self._done = writer.done
        self.new, self.regions = not self._done, 0
        self._home = {image: shard["shard"] for shard in writer.shards for image in shard["ids"]}
        self._batch: dict[ImageId, Regions] = {}
        self._repaired = Counter[str]()
        self._bytes = self._noted = 0

    def run(self, items: Iterable[Item], rule: str) -> None:
        """Go through a source, ids being read by ``rule``: ``number`` or ``text``.

        Raises:
            NonNumericIdError: ``limits.ids`` is ``auto``, and an id is no number.
            InputError: too much is left out, or the shards cannot be written.
        """
        bar = tqdm(items, unit=" images", disable=None, mininterval=0.5, file=sys.stderr)
        for item in bar:
            try:
                image = self._id(item, rule)
                if image in self._done and image not in self.order:
                    self.order[image] = None
                    continue
                regions, repaired = validate(item.read(), image, self.rules)
                regions = _like(regions, self.first, repaired)
                if image in self.order:
                    self._twice(image, regions)
                else:
                    self._add(image, regions, repaired)
            except InvalidImageError as error:
                self._drop(item.where, str(error))
        self._write()

    def _id(self, item: Item, rule: str) -> ImageId:
        if rule == "number" and self.limits.ids == "auto" and number(item.name) is None:
            item.read()  # an image that cannot be used decides nothing
            raise NonNumericIdError(f"{item.where}: the id {item.name!r:.80} is not a number")
        return image_id(item.name, rule)

    def _add(self, image: ImageId, regions: Regions, repaired: Sequence[str]) -> None:
        self.order[image] = None
        self._batch[image] = regions
        self.regions += len(regions)
        self._bytes += regions.features.nbytes
        self._repaired.update(dict.fromkeys(repaired, 1))
        if len(self._batch) >= self.limits.shard_size or self._bytes >= SHARD_BYTES:
            self._write()

    def _write(self) -> None:
        errors: dict[ImageId, str] = dict(list(self.dropped.items())[self._noted :])
        if self._batch or errors:
            self.journal.note(self._repaired)
            self.writer.write(list(self._batch.items()), errors)
            self._home |= dict.fromkeys(self._batch, self.writer.shards[-1]["shard"])
        self._noted = len(self.dropped)
        self._batch, self._repaired, self._bytes = {}, Counter(), 0

    def _drop(self, where: str, reason: str) -> None:
        self.dropped[where] = reason
        if self.limits.max_errors is not None and len(self.dropped) > self.limits.max_errors:
            self._write()
            raise InputError(
                f"{self.rules.path}: {len(self.dropped)} images cannot be used, more than max_errors="
                f"{self.limits.max_errors}; the last: {where}: {reason}"
            )

    def _twice(self, image: ImageId, regions: Regions) -> None:
        before = self._batch.get(image)
        if before is None:
            before = _stored(self.writer.folder / self._home[image])[image]
        if not same_regions(before, regions):
            raise InvalidImageError(f"image {image!r} came before with other contents, which are kept")
        self.tally[_TWICE] += 1


@functools.lru_cache(maxsize=4)
def _stored(shard: Path) -> FeatureStore:
    return FeatureStore(shard)


def _like(regions: Regions, first: Regions, repaired: list[str]) -> Regions:
    """Return regions with the columns of the first image.

    Raises:
        InvalidImageError: one is missing, or the features have another width.
    """
    width, wanted = regions.features.shape[1], first.features.shape[1]
    if width != wanted:
        raise InvalidImageError(f"features are {width} wide, those of the first image {wanted}")
    here, there = regions.arrays().keys(), first.arrays().keys()
    if there - here:
        raise InvalidImageError(f"there is no {', '.join(sorted(there - here))}, which the first image has")
    if here == there:
        return regions
    surplus: dict[str, Any] = dict.fromkeys(sorted(here - there))
    repaired.append(f"{', '.join(surplus)} left out, which the first image does not have")
    return replace(regions, **surplus)


def _same(raw: Raw) -> Raw:
    return raw


def _again(reason: str) -> Raw:
    raise InvalidImageError(reason)
