"""Questions and regions as batches for Lightning."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader

from bua.data.batch import PADDINGS, RegionInput, check_reading
from bua.data.sampler import (
    EpochSampler,
    PairSampler,
    identity_collate,
    rank_and_world_size,
    shard_indices,
    train_loader,
    val_loader,
)
from bua.data.vqa.dataset import VQADataset
from bua.data.vqa.files import QuestionFile, QuestionId, read_file
from bua.data.vqa.files.genome import read_genome
from bua.data.vqa.files.pairs import paired_places
from bua.data.vqa.files.read import entries
from bua.errors import InputError, check_integer
from bua.io.atomic import write_text
from bua.metrics.vqa import VQAAnnotation
from bua.store.reader import FeatureStore
from bua.text.answers import SOFT_SCORES, AnswerVocabulary
from bua.text.vocabulary import SPECIAL, Vocabulary

log = logging.getLogger(__name__)

Files = str | Sequence[str]
#: Whose answers are counted.
COUNTED = ("train", "train_val")


class VQADataModule(LightningDataModule):
    """Questions with the regions of their images.

    Args:
        features: feature store of all images.
        train: file or files of questions to train on, in any format of ``bua.data.vqa.files``.
        train_annotations: as many files of their answers; null where the questions have them with them.
        val: questions to validate on.
        val_annotations: their answers.
        tokenizer: name of the rule that makes words.
        min_count: a word occurs at least so often to be known.
        words_of: further files of questions whose words are counted, as those of a test split.
        min_answer_count: an answer is the most frequent one of at least so many questions.
        answers_of: whose answers are counted, "train" or "train_val".
        answers: file of a list of answers; nothing is counted then.
        keep_empty: keep the answer that is empty in its normal form.
        soft_scores: "official", "third" or "tenth", of ``AnswerVocabulary.soft_scores``.
        length: words a question.
        padding: where shorter questions are padded, "front" or "end".
        genome: Visual Genome's question_answers.json: its questions on the images of ``train`` that have
            one of the answers are trained on, too.
        genome_images: Visual Genome's image_data.json.
        pairs: files of complementary pairs: both questions of one are in the same batch.
        geometry: put box corners and area, times this, behind each region feature.
        batch_size: questions a batch.
        workers: processes that read.
        seed: of the order.

    Raises:
        InputError: a file is broken, a question comes twice, has no answer or no regions, no answer is
            frequent enough, or an option is not one that there is.
    """

    def __init__(
        self,
        *,
        features: str,
        train: Files,
        train_annotations: Files | None,
        val: Files,
        val_annotations: Files | None,
        tokenizer: str,
        min_count: int,
        words_of: Files,
        min_answer_count: int,
        answers_of: str,
        answers: str | None,
        keep_empty: bool,
        soft_scores: str,
        length: int,
        padding: str,
        genome: str | None,
        genome_images: str | None,
        pairs: Files | None,
        geometry: float | None,
        batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        _check("answers_of", answers_of, COUNTED)
        _check("soft_scores", soft_scores, SOFT_SCORES)
        _check("padding", padding, PADDINGS)
        check_reading(batch_size, workers, geometry)
        for name, value in (
            ("min_count", min_count),
            ("min_answer_count", min_answer_count),
            ("length", length),
        ):
            check_integer(name, value, 1)
        if genome_images is not None and genome is None:
            raise InputError(f"data.genome_images={genome_images}: data.genome is needed, too: the questions")
        self.store = FeatureStore(features)
        asked = read_files("train", train, train_annotations)
        judged = read_files("val", val, val_annotations)
        _tell_of_both(judged, asked)
        if answers is not None:
            self.answers = AnswerVocabulary.load(answers).written_as(
                chain.from_iterable(given.answers for given in _asked(asked))
            )
        else:
            counted = asked if answers_of == "train" else [*asked, *judged]
            self.answers = _count(counted, min_answer_count, keep_empty)
        if genome is not None:
            asked.append(self._genome(genome, genome_images, asked))
        self.vocabulary = Vocabulary.count(
            chain(_texts(asked), _words_of(words_of)), tokenizer=tokenizer, min_count=min_count
        )
        rank_zero_only(log.info)(f"{len(self.vocabulary) - len(SPECIAL):,} words of questions are known")
        self.length, self.padding, self.region_input = length, padding, RegionInput(geometry)
        dataset = partial(
            VQADataset,
            self.store,
            vocabulary=self.vocabulary,
            answers=self.answers,
            rule=soft_scores,
            length=length,
            padding=padding,
            region_input=self.region_input,
            report=rank_zero_only(log.info),
        )
        self.train_set = dataset(asked)
        self.val_set = dataset(judged, judged=True)
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self._sampler = self._pairs(pairs, asked) if pairs is not None else EpochSampler
        self.sources = _sources(
            features=features,
            train=train,
            train_annotations=train_annotations,
            val=val,
            val_annotations=val_annotations,
            words_of=words_of,
            answers=answers,
            genome=genome,
            genome_images=genome_images,
            pairs=pairs,
        )

    def _genome(self, path: str, pictures: str | None, asked: Sequence[QuestionFile]) -> QuestionFile:
        if pictures is None:
            raise InputError(f"data.genome={path}: data.genome_images is needed, the file image_data.json")
        images = set(chain.from_iterable(file.image_ids for file in asked))
        file, counts = read_genome(path, pictures, images, self.answers)
        rank_zero_only(log.info)(counts)
        return file

    def _pairs(self, paths: Files, asked: Sequence[QuestionFile]) -> partial[PairSampler]:
        if self.batch_size % 2:
            raise InputError(
                f"data.batch_size={self.batch_size}: an even number is needed for pairs to stay together"
            )
        ids, places = [i for file in asked for i in file.ids], []
        for path in _listed(paths):
            found, counts = paired_places(path, ids)
            rank_zero_only(log.info)(counts)
            places.append(torch.from_numpy(found))
        pairs = torch.cat(places)
        twice = (pairs.flatten().bincount() > 1).nonzero()
        if len(twice):
            raise InputError(f"data.pairs: question {ids[int(twice[0])]} is in pairs of two of the files")
        return partial(PairSampler, pairs=pairs)

    @property
    def sizes(self) -> dict[str, int]:
        """What a VQA model must know of the data."""
        return {
            "feature_size": self.region_input.size(self.store.feature_size),
            "vocabulary_size": len(self.vocabulary),
            "answers": len(self.answers),
        }

    @property
    def record(self) -> dict[str, Any]:
        """What must stand beside the weights for them to be used again."""
        return {
            "kind": "vqa",
            "vocabulary": self.vocabulary.to_dict(),
            "answers": self.answers.to_dict(),
            "length": self.length,
            "padding": self.padding,
            "region_input": self.region_input._asdict(),
            "features": self.store.metadata.identity,
        }

    @property
    def parts(self) -> dict[str, Any]:
        """What the task needs besides the model."""
        return {"answer_types": self.val_set.types}

    def save(self, folder: Path) -> None:
        """Write words and answers for people to read."""
        self.vocabulary.save(folder / "vocabulary.json")
        write_text(folder / "answers.json", json.dumps(self.answers.to_dict(), ensure_ascii=False, indent=0))

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffle by seed and epoch."""
        return train_loader(self, collate=identity_collate, sampler=self._sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        """Keep the order of the file; of several processes, each takes a share."""
        return val_loader(
            self,
            collate=identity_collate,
            sampler=shard_indices(len(self.val_set), *rank_and_world_size(self)),
        )


def read_files(name: str, questions: Files, annotations: Files | None) -> list[QuestionFile]:
    """Read files of questions with their answers.

    Args:
        name: of the keys, for errors.
        questions: the files of questions.
        annotations: as many of their answers, or null.

    Raises:
        InputError: a file is broken, there are not as many of both, or a question is in two files.
    """
    paths = _listed(questions)
    given = [None] * len(paths) if annotations is None else _listed(annotations)
    if not paths or len(given) != len(paths):
        raise InputError(
            f"data.{name}: {len(paths)} files of questions and {len(given)} in data.{name}_annotations; as "
            "many of both are needed"
        )
    files = [read_file(*pair) for pair in zip(paths, given, strict=True)]
    first: dict[Any, Path] = {}
    for file in files:
        if file.asked is None:
            raise InputError(f"{file.path}: its questions have no answers; give data.{name}_annotations=FILE")
        for question_id in file.ids if len(files) > 1 else ():
            if question_id in first:
                raise InputError(f"{file.path}: question {question_id} is in {first[question_id]}, too")
            first[question_id] = file.path
    return files


def _count(files: Sequence[QuestionFile], min_count: int, keep_empty: bool) -> AnswerVocabulary:
    counted = AnswerVocabulary.count(
        ((asked.most_frequent, asked.answers) for asked in _asked(files)),
        min_count=min_count,
        keep_empty=keep_empty,
    )
    if not len(counted):
        raise InputError(
            f"{files[0].path}: no answer is the most frequent one of {min_count} questions; give a smaller "
            "data.min_answer_count"
        )
    return counted


def _asked(files: Sequence[QuestionFile]) -> Iterator[VQAAnnotation]:
    """Yield the answers to every question, once to one that is in several files."""
    seen: set[QuestionId] = set()
    for file in files:
        for question_id, asked in zip(file.ids, file.asked or (), strict=True):
            if question_id not in seen:
                yield asked
        if file is not files[-1]:
            seen.update(file.ids)


def _tell_of_both(judged: Sequence[QuestionFile], asked: Sequence[QuestionFile]) -> None:
    """Warn of questions that are trained on and validated on."""
    trained = set(chain.from_iterable(file.ids for file in asked))
    for file in judged:
        if both := sum(question_id in trained for question_id in file.ids):
            rank_zero_only(log.warning)(
                f"{file.path}: {both:,} of its {len(file):,} questions are trained on: val/accuracy and the "
                "best checkpoint go by them; take trainer.max_epochs from a training on train, and last.ckpt"
            )


def _texts(files: Iterable[QuestionFile]) -> Iterator[str]:
    return chain.from_iterable(file.texts for file in files)


def _words_of(files: Files) -> Iterator[str]:
    for path in _listed(files):
        texts = [entry.question.text for _, entry in entries(path) if entry.question is not None]
        if not texts:
            raise InputError(f"{path}: data.words_of needs questions, there are none in it")
        rank_zero_only(log.info)(f"{path}: the words of {len(texts):,} questions are counted, too")
        yield from texts


def _listed(files: Files | Sequence[Files | None]) -> list[Any]:
    """Return files as a list, of which an entry may be a list, too: [${data.val}, test.json]."""
    if files is None or isinstance(files, str):
        return [files]
    return [path for some in files for path in _listed(some)]  # type: ignore[arg-type]


def _check(key: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise InputError(f"data.{key}={value}: {', '.join(known)} is needed")


def _sources(**files: Files | None) -> dict[str, str]:
    """Return the files by name; of several of one name, the others with a number."""
    found = {}
    for name, paths in files.items():
        for n, path in enumerate(_listed(paths) if paths is not None else []):
            if path is not None:
                found[name if n == 0 else f"{name}_{n + 1}"] = str(path)
    return found
