"""The DataModule of captions."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch.utils.data import DataLoader

from bua.data.captions.dataset import CaptionBatch, CaptionDataset
from bua.data.captions.files import CaptionFile, read_caption_file, select_images
from bua.data.datamodule import EpochSampler, ResumableDataModule, identity_collate
from bua.data.image_lookup import RegionInput
from bua.errors import InputError, check_flag, check_integer, check_kind
from bua.io.files import read_text
from bua.store.reader import FeatureStore
from bua.text.subwords import SubwordModel
from bua.text.vocabulary import SENTENCEPIECE, SPECIAL, Vocabulary


@dataclass(frozen=True, kw_only=True)
class CaptionSource:
    """A caption file and which of its images to use.

    Attributes:
        file: Path of the file, in any format of ``bua.data.captions.files``.
        splits: Split or splits to use, for files that have splits. Default: all.
        ids: Path of a text file with one image id per line. Default: all images.
    """

    file: str
    splits: str | Sequence[str] = ()
    ids: str | None = None


@dataclass(frozen=True, kw_only=True)
class VocabularyOptions:
    """Options of the vocabulary of a captioner.

    Attributes:
        tokenizer: Name of the tokenizer, or ``sentencepiece``, which learns subwords.
        min_count: Minimum number of occurrences of a word in the vocabulary.
        count_from: Captions to count: "train" for those to train on, "train_val" also for those to
            validate on, "all" for those of every image of both files, whatever its split.
        file: Vocabulary of a run, a text file with one word per line (``.txt``), or a SentencePiece model
            (``.model``), to use instead of counting. Default: count.
        size: Maximum number of words or subwords, including the four special tokens. Default: no limit.
        extra_words: Text file of words to add regardless of their frequency, such as those of constraints.
            Default: none.

    Raises:
        InputError: If an option has the wrong type or value, or two of them contradict each other.
    """

    tokenizer: str
    min_count: int
    count_from: str
    file: str | None = None
    size: int | None = None
    extra_words: str | None = None

    def __post_init__(self) -> None:
        if self.count_from not in COUNT_FROM:
            raise InputError(
                f"data.vocabulary.count_from={self.count_from}: must be one of {', '.join(COUNT_FROM)}"
            )
        if not isinstance(self.min_count, int) or self.min_count < 1:
            raise InputError(f"data.vocabulary.min_count={self.min_count}: must be an integer of at least 1")
        least = len(SPECIAL) + 1
        if self.size is not None and (not isinstance(self.size, int) or self.size < least):
            raise InputError(f"data.vocabulary.size={self.size}: must be an integer of at least {least}")
        if self.tokenizer == SENTENCEPIECE and self.file is None and self.size is None:
            raise InputError("data.vocabulary.size: tokenizer sentencepiece needs the number of subwords")
        if self.extra_words is not None and (self.file is not None or self.tokenizer == SENTENCEPIECE):
            reason = f"file={self.file} already lists" if self.file is not None else "subwords spell"
            key = f"data.vocabulary.extra_words={self.extra_words}"
            raise InputError(f"{key}: {reason} all words; leave it out")

    def build(self, train: CaptionFile, val: CaptionFile, files: Sequence[CaptionFile]) -> Vocabulary:
        """Return the vocabulary.

        Args:
            train: Captions to train on.
            val: Captions to validate on.
            files: All images of the files of both.

        Raises:
            InputError: If the tokenizer does not exist or the file is not a vocabulary.
        """
        if self.file is not None:
            return self._load(Path(self.file))
        counted = {"train": [train], "train_val": [train, val], "all": files}[self.count_from]
        if self.tokenizer == SENTENCEPIECE and self.size is not None:
            return Vocabulary.from_subwords(SubwordModel.train(_texts(counted), self.size - len(SPECIAL)))
        vocabulary = Vocabulary.from_texts(
            _texts(counted), tokenizer=self.tokenizer, min_count=self.min_count, size=self.size
        )
        if self.extra_words is None:
            return vocabulary
        extended = vocabulary.with_words(read_text(self.extra_words).splitlines())
        log.info(
            f"{self.extra_words}: adds {len(extended) - len(vocabulary):,} words that the captions do not "
            "have; only word vectors can teach them"
        )
        return extended

    def _load(self, path: Path) -> Vocabulary:
        if path.suffix == ".txt":
            return Vocabulary.from_list(path, self.tokenizer)
        if path.suffix == ".model":
            return Vocabulary.from_subwords(SubwordModel.load(path))
        return Vocabulary.load(path)

    @property
    def sources(self) -> dict[str, str]:
        """The files behind the vocabulary, by role."""
        files = {"vocabulary": self.file, "extra_words": self.extra_words}
        return {role: path for role, path in files.items() if path is not None}

    def __str__(self) -> str:
        """Describe the vocabulary in words."""
        if self.file is not None:
            return self.file
        where = {"train": "the captions", "train_val": "train and val", "all": "the whole file"}
        if self.tokenizer == SENTENCEPIECE:
            return f"{self.size:,} subwords of {where[self.count_from]}"
        limit = "" if self.size is None else f", at most {self.size:,}"
        extra = "" if self.extra_words is None else f", and the words of {self.extra_words}"
        return f"{self.tokenizer}, at least {self.min_count} times in {where[self.count_from]}{limit}{extra}"


def _texts(files: Sequence[CaptionFile]) -> Iterator[str]:
    """Yield the captions of some files; those of an image that is in two files only once."""
    captions = {(file.path, i): texts for file in files for i, texts in file.captions.items()}
    for texts in captions.values():
        yield from texts


class CaptionDataModule(ResumableDataModule):
    """Captions with the regions of their images.

    Args:
        features: Path of the feature store of all images.
        train: Captions to train on.
        val: Captions to validate on; the file may be the same.
        image_key: Field of the files that identifies an image in the store: "id" or "file_name".
        vocabulary: Options of the vocabulary.
        max_length: Maximum number of words; longer captions are truncated.
        keep_end: Whether a truncated caption keeps its end token, see ``pad_captions``. Default: yes.
        captions_per_image: Number of captions per image in an epoch, sampled anew for each epoch; ``None``
            for all.
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
        keep_end: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        check_kind("train", train, CaptionSource)
        check_kind("val", val, CaptionSource)
        check_kind("vocabulary", vocabulary, VocabularyOptions)
        self.region_input = RegionInput(geometry)
        check_integer("max_length", max_length, 1)
        check_flag("keep_end", keep_end)
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
        dataset = partial(
            CaptionDataset,
            self.store,
            vocabulary=self.vocabulary,
            max_length=max_length,
            keep_end=keep_end,
            region_input=self.region_input,
            image_key=image_key,
        )
        self.train_set = dataset(train_file, captions_per_image=captions_per_image, seed=seed)
        self.val_set = dataset(val_file)
        self.sources = {"features": features, "train": train.file, "val": val.file, **vocabulary.sources}

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of a captioner that are determined by the data."""
        return {
            "feature_size": self.region_input.feature_size(self.store.feature_size),
            "vocabulary_size": len(self.vocabulary),
        }

    def describe(self) -> list[str]:
        """Return lines about the captions and the vocabulary."""
        rates = {name: data.unknown_rate() for name, data in self._sets.items()}
        unknown = " and ".join(f"{rate:.2%} of the words of {name}" for name, rate in rates.items())
        kind = "subwords" if self.vocabulary.subword_model else "words"
        return [
            *(
                f"{name}: {len(data):,} images, {data.num_captions():,} captions of {data.file.path}"
                for name, data in self._sets.items()
            ),
            f"vocabulary: {len(self.vocabulary) - len(SPECIAL):,} {kind}; {unknown} are unknown",
        ]

    @property
    def _sets(self) -> dict[str, CaptionDataset]:
        return {"train": self.train_set, "val": self.val_set}

    @property
    def record(self) -> dict[str, Any]:
        """Plain values that a checkpoint needs in addition to the weights."""
        return {
            "kind": "caption",
            "vocabulary": self.vocabulary.to_dict(),
            "region_input": asdict(self.region_input),
            "features": self.store.metadata.identity,
        }

    @property
    def parts(self) -> dict[str, Any]:
        """Arguments of the task that are determined by the data."""
        captions = self.train_set.file.captions
        return {"vocabulary": self.vocabulary, "captions": {i: captions[i] for i in self.train_set.image_ids}}

    def save(self, folder: Path) -> None:
        """Write the vocabulary to a run directory."""
        self.vocabulary.save(folder / "vocabulary.json")

    def on_after_batch_transfer(self, batch: CaptionBatch, dataloader_idx: int) -> CaptionBatch:
        """Convert the regions, which are read and transferred as they are stored."""
        return batch._replace(regions=self.region_input.convert(batch.regions))

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled batches; the order and the sampled captions depend only on seed and epoch."""
        loader = self.train_loader(self.train_set, collate=identity_collate)
        self.train_set.set_sampler(cast(EpochSampler, loader.sampler))
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Return batches in the order of the file."""
        return self.val_loader(self.val_set, collate=identity_collate)


log = logging.getLogger(__name__)
#: Which captions may be counted.
COUNT_FROM = ("train", "train_val", "all")
