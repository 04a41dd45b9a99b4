"""Training a VQA model on soft targets, validated by the official accuracy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bua.data.batch import VQABatch
from bua.errors import InputError
from bua.tasks.base import BaseTask
from bua.tasks.embeddings import MISSING, init_answer_embeddings, init_word_embeddings
from bua.tasks.losses import AnswerLoss


class VQATask(BaseTask):
    """Soft targets: the score of each answer is what it would have earned.

    Args:
        model: a VQA model.
        answer_types: names of the types of answers, by the numbers that batches have for them.
        loss: of scores.
        word_vectors: a file of word vectors to begin with, or nothing.
        missing_words: what words without a vector begin as: zeros or random.
        answer_images: a file of vectors of images of answers to begin with, or nothing.
        kwargs: of ``BaseTask``.

    Raises:
        InputError: a file cannot be read or does not fit the model.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        answer_types: Sequence[str],
        loss: AnswerLoss | None = None,
        word_vectors: str | None = None,
        missing_words: str = "zeros",
        answer_images: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model, self.answer_types = model, answer_types
        self._loss = loss or AnswerLoss()
        if missing_words not in MISSING:
            raise InputError(f"objective.missing_words={missing_words}: {', '.join(MISSING)}")
        if word_vectors is not None:
            words, said = self._record["vocabulary"]["words"], self._record["answers"]["answers"]
            init_word_embeddings(model, word_vectors, words, said, missing_words)
        if answer_images is not None:
            init_answer_embeddings(model, answer_images, self._record["answers"]["answers"])

    def training_step(self, batch: VQABatch, _: int) -> Tensor:
        """Return the loss."""
        loss, _scores = self.loss(batch)
        self.log("train/loss", loss, batch_size=len(batch.question_id))
        return loss

    def loss(self, batch: VQABatch) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits (B, C)."""
        logits, _ = self.model(batch.regions, batch.words)
        return self._loss(logits, batch.targets), logits

    def on_validation_epoch_start(self) -> None:
        """Forget the answers of the last validation."""
        self.tally = np.zeros((len(self.answer_types), 2))

    def validation_step(self, batch: VQABatch, _: int) -> None:
        """Answer every question."""
        loss, logits = self.loss(batch)
        self.log("val/loss", loss, batch_size=len(batch.question_id), sync_dist=True)
        assert batch.marks is not None
        types, counted = batch.marks.types, batch.marks.counted
        accuracy = batch.marks.of(logits.argmax(1).cpu().numpy())
        for column, values in enumerate((accuracy * counted, counted)):
            self.tally[:, column] += np.bincount(types, values, minlength=len(self.tally))

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy in percent, overall and by type of answer, of the questions of all processes."""
        shares = torch.from_numpy(self.tally).float().to(self.device)
        right, count = self.trainer.strategy.reduce(shares, reduce_op="sum").double().T
        self.log("val/accuracy", 100 * right.sum() / count.sum())
        for n, name in enumerate(self.answer_types):
            if count[n]:  # of a part of the questions, as of a limited validation, a type may be missing
                self.log(f"val/accuracy/{name}", 100 * right[n] / count[n])
