"""Captions and regions as batches for Lightning."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader, Dataset

from bua.data.batch import CaptionBatch, RegionInput, check_reading, pad_captions, pad_references
from bua.data.captions.encoded import Encoded, encode
from bua.data.captions.files import CaptionFile, read_caption_file, select_images
from bua.data.captions.files.stored import stored_ids
from bua.data.captions.vocabulary import VocabularyOptions
from bua.data.sampler import EpochSampler, identity_collate, train_loader, val_loader
from bua.errors import InputError, check_integer
from bua.store.reader import FeatureStore, ImageId
from bua.text.vocabulary import SPECIAL, Vocabulary

log = logging.getLogger(__name__)


class CaptionDataset(Dataset[CaptionBatch]):
    """One example an image; a whole batch is read at once.

    Captions without a word, as "...", and images without captions are left out, and how many there are is
    said.

    Args:
        store: regions of the images.
        file: their captions.
        vocabulary: the words that are known.
        max_length: longer captions are cut.
        region_input: what becomes of the regions.
        image_key: what of ``file`` names an image in the store, "id" or "file_name".
        each: captions of an image at a time, drawn by seed, epoch and image; all of them where it is
            ``None``. An image that has fewer gives some of them twice.
        seed: of the draw.

    Raises:
        InputError: no image has captions, or one with captions has no regions.
    """

    def __init__(
        self,
        store: FeatureStore,
        file: CaptionFile,
        vocabulary: Vocabulary,
        *,
        max_length: int,
        region_input: RegionInput,
        image_key: str = "id",
        each: int | None = None,
        seed: int = 0,
    ) -> None:
        self.each, self.seed = each, seed
        self._order: EpochSampler | None = None
        self.store, self.vocabulary = store, vocabulary
        self.max_length, self.region_input = max_length, region_input
        spoken, self._encoded = encode(file.captions, vocabulary)
        self.file, self.image_ids = replace(file, captions=spoken), list(spoken)
        if not self.image_ids:
            raise InputError(f"{file.path}: there are no captions in it")
        _tell_what_is_left_out(file, spoken)
        self._stored = stored_ids(file, self.image_ids, store, image_key)

    def __len__(self) -> int:
        return len(self.image_ids)

    def follow(self, order: EpochSampler) -> None:
        """Take the epoch, on which the captions that are drawn depend, from the order of the examples."""
        self._order = order

    def drawn(self, index: int, texts: Sequence[Encoded]) -> Sequence[Encoded]:
        """Return those captions of an image that the present epoch reads."""
        if self.each is None:
            return texts
        epoch = self._order.epoch if self._order else 0
        rng = np.random.default_rng([self.seed, epoch, index])
        chosen = rng.choice(len(texts), self.each, replace=len(texts) < self.each)
        return [texts[n] for n in chosen.tolist()]

    def __getitems__(self, indices: Sequence[int]) -> CaptionBatch:
        """Return a batch."""
        ids = [self.image_ids[n] for n in indices]
        references = [self.file.captions[image_id] for image_id in ids]
        words = [self._encoded[n] for n in indices]
        regions = self.region_input.load(self.store, [self._stored[i] for i in ids])
        read = [self.drawn(n, texts) for n, texts in zip(indices, words, strict=True)]
        return CaptionBatch(
            ids, regions, pad_captions(read, self.max_length), references, *pad_references(words)
        )


@rank_zero_only
def _tell_what_is_left_out(file: CaptionFile, spoken: Mapping[ImageId, Sequence[str]]) -> None:
    """Say how many captions of a file have no word, and how many images no captions."""
    texts, left = (sum(map(len, captions.values())) for captions in (file.captions, spoken))
    if texts > left:
        log.warning(f"{file.path}: {texts - left:,} of {texts:,} captions have no word and are left out")
    if without := len(file.captions) - len(spoken):
        log.warning(
            f"{file.path}: {without:,} of {len(file.captions):,} images have no captions and are left out"
        )


class CaptionDataModule(LightningDataModule):
    """Captions with the regions of their images.

    Args:
        features: feature store of all images.
        train: file of captions to train on, in any format of ``bua.data.captions.files``.
        val: captions to validate on; it may be the same file.
        train_splits: splits of ``train`` to use, of a file that has splits.
        val_splits: the same for ``val``.
        train_ids: list of the images of ``train`` to use, all of them by default.
        val_ids: the same for ``val``.
        image_key: what of the files names an image in the store, "id" or "file_name".
        vocabulary: which words are known.
        max_length: longer captions are cut.
        captions_each: captions of an image that an epoch trains on, drawn anew in each; all by default.
        geometry: put box corners and area, times this, behind each region feature.
        batch_size: images a batch, each with all its captions.
        workers: processes that read.
        seed: of the order.
    """

    def __init__(
        self,
        *,
        features: str,
        train: str,
        val: str,
        train_splits: str | Sequence[str],
        val_splits: str | Sequence[str],
        train_ids: str | None,
        val_ids: str | None,
        image_key: str,
        vocabulary: VocabularyOptions,
        max_length: int,
        captions_each: int | None,
        geometry: float | None,
        batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        check_reading(batch_size, workers, geometry)
        check_integer("max_length", max_length, 1)
        if captions_each is not None:
            check_integer("captions_each", captions_each, 1)
        self.store = FeatureStore(features)
        files = {path: read_caption_file(path) for path in dict.fromkeys((train, val))}
        train_file = select_images(files[train], train_ids, train_splits)
        val_file = select_images(files[val], val_ids, val_splits)
        self.vocabulary = vocabulary.vocabulary(train_file, val_file, list(files.values()))
        if len(self.vocabulary) == len(SPECIAL):
            raise InputError(
                f"{train}: no word is known ({vocabulary}); give a smaller data.vocabulary.min_count"
            )
        self.region_input = RegionInput(geometry)
        dataset = partial(
            CaptionDataset,
            self.store,
            vocabulary=self.vocabulary,
            max_length=max_length,
            region_input=self.region_input,
            image_key=image_key,
        )
        self.train_set = dataset(train_file, each=captions_each, seed=seed)
        self.val_set = dataset(val_file)
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.sources = {"features": features, "train": train, "val": val}
        if vocabulary.file is not None:
            self.sources["vocabulary"] = vocabulary.file
        if vocabulary.also is not None:
            self.sources["also"] = vocabulary.also

    @property
    def sizes(self) -> dict[str, int]:
        """What a captioner must know of the data."""
        return {
            "feature_size": self.region_input.size(self.store.feature_size),
            "vocabulary_size": len(self.vocabulary),
        }

    @property
    def record(self) -> dict[str, Any]:
        """What must stand beside the weights for them to be used again."""
        return {
            "kind": "caption",
            "vocabulary": self.vocabulary.to_dict(),
            "region_input": self.region_input._asdict(),
            "features": self.store.metadata.identity,
        }

    @property
    def parts(self) -> dict[str, Any]:
        """What the task needs besides the model."""
        captions = self.train_set.file.captions
        return {"vocabulary": self.vocabulary, "captions": {i: captions[i] for i in self.train_set.image_ids}}

    def save(self, folder: Path) -> None:
        """Write the vocabulary for people to read."""
        self.vocabulary.save(folder / "vocabulary.json")

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffle, and draw captions, by seed and epoch."""
        loader = train_loader(self, collate=identity_collate)
        self.train_set.follow(cast(EpochSampler, loader.sampler))
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Keep the order of the file."""
        return val_loader(self, collate=identity_collate)
