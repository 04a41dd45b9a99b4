"""Captions and regions as batches for Lightning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from bua.data.batch import CaptionBatch, RegionInput, pad_captions
from bua.data.coco import CaptionFile, read_captions
from bua.data.sampler import in_order, shuffled, whole
from bua.errors import InputError
from bua.store.reader import FeatureStore
from bua.text.vocabulary import Vocabulary


class CaptionDataset(Dataset[CaptionBatch]):
    """One example an image; a whole batch is read at once."""

    def __init__(
        self,
        store: FeatureStore,
        file: CaptionFile,
        vocabulary: Vocabulary,
        *,
        max_words: int,
        region_input: RegionInput,
    ) -> None:
        self.store, self.file, self.vocabulary = store, file, vocabulary
        self.max_words, self.region_input = max_words, region_input
        self.image_ids = [i for i, captions in file.captions.items() if captions]
        if not self.image_ids:
            raise InputError(f"{file.path}: there are no captions in it")
        store.require(self.image_ids, str(file.path))

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitems__(self, indices: Sequence[int]) -> CaptionBatch:
        """Return a batch."""
        ids = [self.image_ids[n] for n in indices]
        references = [self.file.captions[image_id] for image_id in ids]
        words = [[self.vocabulary.encode(text) for text in texts] for texts in references]
        features, mask = self.region_input.load(self.store, ids)
        return CaptionBatch(ids, features, mask, pad_captions(words, self.max_words), references)


class CaptionData(LightningDataModule):
    """COCO captions with the regions of their images.

    Args:
        features: feature store of all images.
        train: captions to train on; the vocabulary is theirs.
        val: captions to validate on.
        train_ids: list of the images of ``train`` to use, all of them by default.
        val_ids: the same for ``val``.
        tokenizer: name of the rule that makes words.
        min_count: a word occurs at least so often to be known.
        max_words: longer captions are cut.
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
        train_ids: str | None,
        val_ids: str | None,
        tokenizer: str,
        min_count: int,
        max_words: int,
        geometry: float | None,
        batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.store = FeatureStore(features)
        train_file, val_file = read_captions(train, train_ids), read_captions(val, val_ids)
        texts = (text for captions in train_file.captions.values() for text in captions)
        self.vocabulary = Vocabulary.count(texts, tokenizer=tokenizer, min_count=min_count)
        self.region_input = RegionInput(geometry)
        options = {"max_words": max_words, "region_input": self.region_input}
        self.train_set = CaptionDataset(self.store, train_file, self.vocabulary, **options)  # type: ignore[arg-type]
        self.val_set = CaptionDataset(self.store, val_file, self.vocabulary, **options)  # type: ignore[arg-type]
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.sources = {"features": features, "train": train, "val": val}

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
            "features": self.store.about.identity,
        }

    @property
    def parts(self) -> dict[str, Any]:
        """What the task needs besides the model."""
        return {"vocabulary": self.vocabulary}

    def save(self, folder: Path) -> None:
        """Write the vocabulary for people to read."""
        self.vocabulary.save(folder / "vocabulary.json")

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffle by seed and epoch."""
        return shuffled(self, collate=whole)

    def val_dataloader(self) -> DataLoader[Any]:
        """Keep the order of the file."""
        return in_order(self, collate=whole)
