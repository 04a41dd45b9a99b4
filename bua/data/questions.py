"""Questions and regions as batches for Lightning."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from bua.data.batch import QuestionBatch, RegionInput, pad_questions
from bua.data.sampler import in_order, shuffled, whole
from bua.data.vqa import Question, read_vqa
from bua.errors import InputError
from bua.metrics.vqa import Asked
from bua.store.atomic import write_text
from bua.store.reader import FeatureStore
from bua.text.answers import AnswerVocabulary
from bua.text.vocabulary import Vocabulary


class QuestionDataset(Dataset[QuestionBatch]):
    """One example a question; a whole batch is read at once.

    Args:
        store: regions of the images.
        questions: the questions.
        annotations: what annotators answered, by question id; empty where it is not known.
        vocabulary: words of questions.
        answers: the answers that can be chosen.
        length: words a question.
        region_input: what becomes of the regions.
        source: the file of the questions, for errors.
    """

    def __init__(
        self,
        store: FeatureStore,
        questions: Sequence[Question],
        annotations: Mapping[int, Asked],
        *,
        vocabulary: Vocabulary,
        answers: AnswerVocabulary,
        length: int,
        region_input: RegionInput,
        source: str,
    ) -> None:
        if not questions:
            raise InputError(f"{source}: there are no questions in it")
        self.store, self.questions, self.annotations = store, questions, annotations
        self.answers, self.length, self.region_input = answers, length, region_input
        self._words = [vocabulary.encode(question.text) for question in questions]
        self._scores = [
            answers.soft_scores(annotations[q.question_id].answers) if q.question_id in annotations else {}
            for q in questions
        ]
        store.require(list(dict.fromkeys(q.image_id for q in questions)), source)

    def __len__(self) -> int:
        return len(self.questions)

    def __getitems__(self, indices: Sequence[int]) -> QuestionBatch:
        """Return a batch."""
        asked = [self.questions[n] for n in indices]
        targets = torch.zeros(len(indices), len(self.answers))
        for row, n in enumerate(indices):
            for answer, score in self._scores[n].items():
                targets[row, answer] = score
        ids = [q.question_id for q in asked]
        return QuestionBatch(
            question_id=ids,
            regions=self.region_input.load(self.store, [q.image_id for q in asked]),
            words=pad_questions([self._words[n] for n in indices], self.length),
            targets=targets,
            asked=[self.annotations[i] for i in ids if i in self.annotations],
        )


class QuestionData(LightningDataModule):
    """VQA v2 questions with the regions of their images.

    Args:
        features: feature store of all images.
        train: questions to train on; words and answers are theirs.
        train_annotations: their answers.
        val: questions to validate on.
        val_annotations: their answers.
        tokenizer: name of the rule that makes words.
        min_count: a word occurs at least so often to be known.
        min_answer_count: an answer is the most frequent one of at least so many questions.
        keep_empty: keep the answer that is empty in its normal form.
        length: words a question, padded in front.
        geometry: put box corners and area, times this, behind each region feature.
        batch_size: questions a batch.
        workers: processes that read.
        seed: of the order.
    """

    def __init__(
        self,
        *,
        features: str,
        train: str,
        train_annotations: str,
        val: str,
        val_annotations: str,
        tokenizer: str,
        min_count: int,
        min_answer_count: int,
        keep_empty: bool,
        length: int,
        geometry: float | None,
        batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.store = FeatureStore(features)
        questions, annotations = read_vqa(train, train_annotations)
        self.vocabulary = Vocabulary.count(
            (q.text for q in questions), tokenizer=tokenizer, min_count=min_count
        )
        given = [annotations[q.question_id] for q in questions]
        self.answers = AnswerVocabulary.count(
            ((asked.most_frequent, asked.answers) for asked in given),
            min_count=min_answer_count,
            keep_empty=keep_empty,
        )
        if not len(self.answers):
            raise InputError(
                f"{train_annotations}: no answer is the most frequent one of {min_answer_count} "
                "questions; give a smaller data.min_answer_count"
            )
        self.length, self.region_input = length, RegionInput(geometry)
        self.train_set = self._dataset(questions, annotations, train)
        self.val_set = self._dataset(*read_vqa(val, val_annotations), val)
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.sources = {
            "features": features,
            "train": train,
            "train_annotations": train_annotations,
            "val": val,
            "val_annotations": val_annotations,
        }

    def _dataset(
        self, questions: Sequence[Question], annotations: Mapping[int, Asked], source: str
    ) -> QuestionDataset:
        return QuestionDataset(
            self.store,
            questions,
            annotations,
            vocabulary=self.vocabulary,
            answers=self.answers,
            length=self.length,
            region_input=self.region_input,
            source=source,
        )

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
            "region_input": self.region_input._asdict(),
            "features": self.store.about.identity,
        }

    @property
    def parts(self) -> dict[str, Any]:
        """What the task needs besides the model."""
        return {"answers": self.answers}

    def save(self, folder: Path) -> None:
        """Write words and answers for people to read."""
        self.vocabulary.save(folder / "vocabulary.json")
        write_text(folder / "answers.json", json.dumps(self.answers.to_dict(), ensure_ascii=False, indent=0))

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffle by seed and epoch."""
        return shuffled(self, collate=whole)

    def val_dataloader(self) -> DataLoader[Any]:
        """Keep the order of the file."""
        return in_order(self, collate=whole)
