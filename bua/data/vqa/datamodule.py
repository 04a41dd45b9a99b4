"""The DataModule of questions."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader

from bua.data.datamodule import (
    EpochSampler,
    PairSampler,
    ResumableDataModule,
    identity_collate,
    shard_indices,
)
from bua.data.image_lookup import RegionInput
from bua.data.vqa.dataset import QuestionEncoding, VQABatch, VQADataset
from bua.data.vqa.files import QuestionFile
from bua.data.vqa.files.read import read_entries
from bua.data.vqa.files.visual_genome import read_visual_genome
from bua.data.vqa.options import (
    AnswerOptions,
    Files,
    QuestionOptions,
    VisualGenomeSource,
    VQASource,
    flatten_files,
    number_files,
)
from bua.data.vqa.pairs import pair_indices
from bua.errors import InputError, check_flag, check_kind
from bua.io.write import write_text
from bua.store.reader import FeatureStore
from bua.structures.annotations import QuestionId, VQAAnnotation
from bua.text.answers import AnswerVocabulary
from bua.text.vocabulary import SPECIAL, Vocabulary

log = logging.getLogger(__name__)


class VQADataModule(ResumableDataModule):
    """Questions with the regions of their images.

    Args:
        features: Path of the feature store of all images.
        train: Questions to train on.
        val: Questions to validate on.
        questions: Options for converting questions to word indices.
        answers: Options of the answer list and of the soft scores.
        visual_genome: Additional training questions from Visual Genome.
        pairs: File or files of complementary pairs, whose two questions share a batch; ``None`` for none.
        drop_last: Whether to leave out the last batch of an epoch if it is smaller.
        geometry: Scale of the box corners and the area that are appended to each region feature, or
            ``None`` to append nothing.
        batch_size: Questions in a batch.
        num_workers: Number of processes that read.
        seed: Seed of the order.

    Raises:
        InputError: If a file is broken, a question is duplicated, has no answer or no regions, no answer is
            frequent enough, or an option does not exist.
        ValueError: If an option has the wrong type or is out of range.
    """

    def __init__(
        self,
        *,
        features: str,
        train: VQASource,
        val: VQASource,
        questions: QuestionOptions,
        answers: AnswerOptions,
        visual_genome: VisualGenomeSource,
        pairs: Files | None,
        geometry: float | None,
        batch_size: int,
        num_workers: int,
        seed: int,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        check_kind("train", train, VQASource)
        check_kind("val", val, VQASource)
        check_kind("questions", questions, QuestionOptions)
        check_kind("answers", answers, AnswerOptions)
        check_kind("visual_genome", visual_genome, VisualGenomeSource)
        check_flag("drop_last", drop_last)
        self._drop_last = drop_last
        self.region_input = RegionInput(geometry)
        self.store = FeatureStore(features)
        train_files, val_files = train.read("train"), val.read("val")
        _warn_of_overlap(val_files, train_files)
        self.answers = _known_answers(answers, train_files, val_files)
        if visual_genome.questions is not None:
            train_files.append(self._read_visual_genome(visual_genome, train_files))
        self.vocabulary = _known_words(questions, train_files)
        self.encoding = QuestionEncoding(self.vocabulary, questions.max_length, questions.padding)
        dataset = partial(
            VQADataset,
            self.store,
            encoding=self.encoding,
            answers=self.answers,
            soft_scores=partial(self.answers.soft_scores, rule=answers.soft_scores, raw=answers.raw),
            region_input=self.region_input,
            report=_log,
        )
        self.train_set = dataset(train_files)
        self.val_set = dataset(val_files, with_accuracies=True)
        self._sampler = self._pair_sampler(pairs, train_files) if pairs is not None else EpochSampler
        self.sources = number_files(
            features=features,
            train=train.questions,
            train_annotations=train.annotations,
            val=val.questions,
            val_annotations=val.annotations,
            extra_questions=questions.extra_files,
            vocabulary=questions.file,
            answers=answers.file,
            visual_genome=visual_genome.questions,
            visual_genome_images=visual_genome.images,
            pairs=pairs,
        )

    def _read_visual_genome(self, source: VisualGenomeSource, train: Sequence[QuestionFile]) -> QuestionFile:
        assert source.questions is not None
        assert source.images is not None
        images = set(chain.from_iterable(file.image_ids for file in train))
        file, counts = read_visual_genome(source.questions, source.images, images, self.answers)
        _log(counts)
        return file

    def _pair_sampler(self, paths: Files, train: Sequence[QuestionFile]) -> partial[PairSampler]:
        if self.batch_size % 2:
            raise InputError(f"data.batch_size={self.batch_size}: must be even for pairs to share a batch")
        ids, found = [i for file in train for i in file.ids], []
        for path in flatten_files(paths):
            indices, counts = pair_indices(path, ids)
            _log(counts)
            found.append(torch.from_numpy(indices))
        pairs = torch.cat(found)
        repeated = (pairs.flatten().bincount() > 1).nonzero()
        if len(repeated):
            raise InputError(f"data.pairs: question {ids[int(repeated[0])]} is in pairs of two of the files")
        return partial(PairSampler, pairs=pairs)

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of a VQA model that are determined by the data."""
        return {
            "feature_size": self.region_input.feature_size(self.store.feature_size),
            "vocabulary_size": len(self.vocabulary),
            "answers": len(self.answers),
        }

    def describe(self) -> list[str]:
        """Return lines about the questions, their words and the answers."""
        sets = {"train": self.train_set, "val": self.val_set}
        unknown = " and ".join(f"{data.unknown_rate():.2%} of the words of {n}" for n, data in sets.items())
        return [
            *(f"{n}: {len(data):,} questions on {data.num_images():,} images" for n, data in sets.items()),
            f"vocabulary: {len(self.vocabulary) - len(SPECIAL):,} words; {unknown} are unknown",
            f"answers: {len(self.answers):,}",
        ]

    @property
    def record(self) -> dict[str, Any]:
        """Plain values that a checkpoint needs in addition to the weights."""
        return {
            "kind": "vqa",
            "vocabulary": self.vocabulary.to_dict(),
            "answers": self.answers.to_dict(),
            "max_length": self.encoding.max_length,
            "padding": self.encoding.padding,
            "region_input": asdict(self.region_input),
            "features": self.store.metadata.identity,
        }

    @property
    def parts(self) -> dict[str, Any]:
        """Arguments of the task that are determined by the data."""
        return {"answer_types": self.val_set.types}

    def save(self, folder: Path) -> None:
        """Write words and answers to a run directory."""
        self.vocabulary.save(folder / "vocabulary.json")
        write_text(folder / "answers.json", json.dumps(self.answers.to_dict(), ensure_ascii=False, indent=0))

    def on_after_batch_transfer(self, batch: VQABatch, dataloader_idx: int) -> VQABatch:
        """Convert the regions, which are read and transferred as they are stored."""
        return batch._replace(regions=self.region_input.convert(batch.regions))

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled batches, whose order depends only on seed and epoch."""
        return self.train_loader(
            self.train_set,
            collate=identity_collate,
            drop_last=self._drop_last and len(self.train_set) >= self.batch_size,
            sampler=self._sampler,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Return batches in the order of the file; each of several processes takes a shard."""
        indices = shard_indices(len(self.val_set), *self.rank_and_world_size)
        return self.val_loader(self.val_set, collate=identity_collate, sampler=indices)


@rank_zero_only
def _log(line: str) -> None:
    log.info(line)


def _known_words(options: QuestionOptions, train: Sequence[QuestionFile]) -> Vocabulary:
    """Return the known words: those of a file, or the frequent ones of the questions."""
    if options.file is not None:
        return Vocabulary.load(Path(options.file))
    texts = chain(_texts(train), _extra_texts(options.extra_files))
    return Vocabulary.from_texts(texts, tokenizer=options.tokenizer, min_count=options.min_count)


def _known_answers(
    options: AnswerOptions, train: Sequence[QuestionFile], val: Sequence[QuestionFile]
) -> AnswerVocabulary:
    """Return the known answers: those of a file, or the frequent ones of the annotations."""
    if options.file is not None:
        texts = chain.from_iterable(annotation.answers for annotation in _annotations(train))
        return AnswerVocabulary.load(options.file).with_surface_forms_from(texts)
    counted = train if options.count_from == "train" else [*train, *val]
    answers = AnswerVocabulary.from_questions(
        ((annotation.most_frequent, annotation.answers) for annotation in _annotations(counted)),
        min_count=options.min_count,
        keep_empty=options.keep_empty,
    )
    if not len(answers):
        raise InputError(
            f"{train[0].path}: no answer is the most frequent answer to {options.min_count} questions; "
            "give a smaller data.answers.min_count"
        )
    return answers


def _annotations(files: Sequence[QuestionFile]) -> Iterator[VQAAnnotation]:
    """Yield the annotation of every question, once for a question that is in several files."""
    seen: set[QuestionId] = set()
    for file in files:
        for question_id, annotation in zip(file.ids, file.annotations or (), strict=True):
            if question_id not in seen:
                yield annotation
        if file is not files[-1]:
            seen.update(file.ids)


def _warn_of_overlap(val: Sequence[QuestionFile], train: Sequence[QuestionFile]) -> None:
    """Warn about questions that are used for both training and validation."""
    trained = set(chain.from_iterable(file.ids for file in train))
    for file in val:
        if overlap := sum(question_id in trained for question_id in file.ids):
            rank_zero_only(log.warning)(
                f"{file.path}: {overlap:,} of its {len(file):,} questions are also used for training, which "
                "inflates val/accuracy and the choice of the best checkpoint; take trainer.max_epochs from a "
                "run on train alone, and use last.ckpt"
            )


def _texts(files: Iterable[QuestionFile]) -> Iterator[str]:
    return chain.from_iterable(file.texts for file in files)


def _extra_texts(files: Files) -> Iterator[str]:
    """Yield the questions of further files, whose words are counted, too."""
    for path in flatten_files(files):
        texts = [entry.question.text for _, entry in read_entries(path) if entry.question is not None]
        if not texts:
            raise InputError(f"{path}: holds no questions, which data.questions.extra_files needs")
        _log(f"{path}: the words of {len(texts):,} questions are counted, too")
        yield from texts
