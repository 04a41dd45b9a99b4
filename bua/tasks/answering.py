"""Training a VQA model on soft targets, validated by the official accuracy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bua.data.batch import QuestionBatch
from bua.tasks.optimise import Task


class Answering(Task):
    """Binary cross-entropy of every answer, summed over answers and averaged over questions.

    Args:
        model: a VQA model.
        answer_types: names of the types of answers, by the numbers that batches have for them.
        kwargs: of ``Task``.
    """

    def __init__(self, model: nn.Module, *, answer_types: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model, self.answer_types = model, answer_types

    def training_step(self, batch: QuestionBatch, _: int) -> Tensor:
        """Return the loss."""
        loss, _scores = self.loss(batch)
        self.log("train/loss", loss, batch_size=len(batch.question_id))
        return loss

    def loss(self, batch: QuestionBatch) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits (B, C)."""
        logits, _ = self.model(batch.regions, batch.words)
        total = F.binary_cross_entropy_with_logits(logits, batch.targets, reduction="sum")
        return total / len(logits), logits

    def on_validation_epoch_start(self) -> None:
        """Forget the answers of the last validation."""
        self.tally = np.zeros((len(self.answer_types), 2))

    def validation_step(self, batch: QuestionBatch, _: int) -> None:
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
