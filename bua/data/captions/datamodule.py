"""The DataModule of captions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from bua.data.captions.dataset import CaptionDataset
from bua.data.captions.files import read_caption_file, select_images
from bua.data.captions.vocabulary import VocabularyOptions
from bua.data.region_input import RegionInput
from bua.data.sampler import EpochSampler, check_loading, identity_collate, train_loader, val_loader
from bua.errors import InputError, check_integer
from bua.store.reader import FeatureStore
from bua.text.vocabulary import SPECIAL


@dataclass(frozen=True, kw_only=True)
class CaptionSource:
    """A caption file and which of its images to use.

    Attributes:
        file: Path of the file, in any format of ``bua.data.captions.files``.
        splits: Split or splits to use, for files that have splits. Default: all.
        ids: Path of a list of the image ids to use, one a line. Default: all images.
    """

    file: str
    splits: str | Sequence[str] = ()
    ids: str | None = None


class CaptionDataModule(LightningDataModule):
    """Captions with the regions of their images.

    Args:
        features: Path of the feature store of all images.
        train: Captions to train on.
        val: Captions to validate on; the file may be the same.
        image_key: What of the files names an image in the store: "id" or "file_name".
        vocabulary: Which words are known.
        max_length: Number of words after which a caption is truncated.
        captions_per_image: Number of captions of an image that an epoch trains on, drawn anew in each
            epoch; ``None`` for all.
        geometry: Scale of the box corners and the area that are appended to each region feature, or
            ``None`` to append nothing.
        batch_size: Images in a batch, each with its captions.
        num_workers: Number of processes that read.
        seed: Seed of the order.

    Raises:
        InputError: If a file is broken, images have no regions, or no word is known.
        ValueError: If an option has the wrong type or is out of range.
    """

    def __init__(
        self,
        *,
        features: str,
        train: CaptionSource,
        val: CaptionSource,
        image_key: str,
        vocabulary: VocabularyOptions,
        max_length: int,
        captions_per_image: int | None,
        geometry: float | None,
        batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        check_loading(batch_size, num_workers, geometry)
        check_integer("max_length", max_length, 1)
        if captions_per_image is not None:
            check_integer("captions_per_image", captions_per_image, 1)
        self.store = FeatureStore(features)
        files = {path: read_caption_file(path) for path in dict.fromkeys((train.file, val.file))}
        train_file = select_images(files[train.file], train.ids, train.splits)
        val_file = select_images(files[val.file], val.ids, val.splits)
        self.vocabulary = vocabulary.build(train_file, val_file, list(files.values()))
        if len(self.vocabulary) == len(SPECIAL):
            raise InputError(
                f"{train.file}: no word is known ({vocabulary}); give a smaller data.vocabulary.min_count"
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
        self.train_set = dataset(train_file, captions_per_image=captions_per_image, seed=seed)
        self.val_set = dataset(val_file)
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.sources = {"features": features, "train": train.file, "val": val.file, **vocabulary.sources}

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of a captioner that the data determine."""
        return {
            "feature_size": self.region_input.feature_size(self.store.feature_size),
            "vocabulary_size": len(self.vocabulary),
        }

    @property
    def record(self) -> dict[str, Any]:
        """Plain values that a checkpoint needs beside the weights."""
        return {
            "kind": "caption",
            "vocabulary": self.vocabulary.to_dict(),
            "region_input": self.region_input._asdict(),
            "features": self.store.metadata.identity,
        }

    @property
    def parts(self) -> dict[str, Any]:
        """Arguments of the task that the data determine."""
        captions = self.train_set.file.captions
        return {"vocabulary": self.vocabulary, "captions": {i: captions[i] for i in self.train_set.image_ids}}

    def save(self, folder: Path) -> None:
        """Write the vocabulary to a run directory."""
        self.vocabulary.save(folder / "vocabulary.json")

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled batches; order and drawn captions depend on seed and epoch alone."""
        loader = train_loader(self, collate=identity_collate)
        self.train_set.set_sampler(cast(EpochSampler, loader.sampler))
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Return batches in the order of the file."""
        return val_loader(self, collate=identity_collate)
