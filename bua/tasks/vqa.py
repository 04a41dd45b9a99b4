"""Training a VQA model on soft targets, validated by the official accuracy.

Shapes: B questions, C answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from bua.data.vqa.dataset import VQABatch
from bua.errors import InputError
from bua.models.captioners.base import Captioner
from bua.structures.region_batch import RegionBatch
from bua.tasks.base import BaseTask
from bua.tasks.embeddings import MISSING_WORDS, init_answer_embeddings, init_word_embeddings
from bua.tasks.metric_modes import metric_mode
from bua.tasks.samples import Sample
from bua.text.answers import AnswerVocabulary
from bua.text.vocabulary import PADDING, Vocabulary

#: Normalizations of a loss over answers.
PER_ANSWERS = ("question", "batch", "answer")


@dataclass(frozen=True)
class AnswerLoss:
    """Binary cross-entropy of every answer against its soft score.

    Attributes:
        per: ``question``: the sum over answers, the mean over questions (hengyuan-hu, BAN, Pythia);
            ``batch``: the sum over both (OpenVQA, MCAN); ``answer``: the mean over both.

    Raises:
        ValueError: If ``per`` does not exist.
    """

    per: str = "question"

    def __post_init__(self) -> None:
        if self.per not in PER_ANSWERS:
            raise ValueError(f"per must be one of {', '.join(PER_ANSWERS)}, got {self.per!r}")

    def __call__(self, logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
        """Return the reduced loss."""
        total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return total / {"question": len(logits), "batch": 1, "answer": logits.numel()}[self.per]


class VQATask(BaseTask):
    """Trains with soft targets: the target of an answer is the accuracy that it would score.

    Args:
        model: VQA model.
        answer_types: Names of the answer types, in the order of their indices in batches.
        loss: Loss of the scores. Default: summed over answers, averaged over questions.
        word_vectors: File of word vectors to initialize the embeddings with. Default: none.
        missing_words: How words without a vector are initialized: "zeros" or "random".
        answer_images: File of image features of the answers, to initialize the classifier with. Default:
            none.
        kwargs: Arguments of ``BaseTask``.

    Raises:
        InputError: If a file cannot be read or does not fit the model, or ``missing_words`` does not exist.
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
        if isinstance(model, Captioner):
            raise ValueError(f"model must answer questions, and {type(model).__name__} generates captions")
        self.model, self.answer_types = model, answer_types
        self._loss = loss or AnswerLoss()
        if missing_words not in MISSING_WORDS:
            raise InputError(
                f"objective.missing_words={missing_words}: must be one of {', '.join(MISSING_WORDS)}"
            )
        if word_vectors is not None:
            words, answers = self._record["vocabulary"]["words"], self._record["answers"]["answers"]
            init_word_embeddings(model, word_vectors, words, answers, missing_words)
        if answer_images is not None:
            init_answer_embeddings(model, answer_images, self._record["answers"]["answers"])

    @property
    def metrics(self) -> dict[str, str]:
        """Accuracies are best when high, losses when low."""
        accuracies = ("val/accuracy", *(f"val/accuracy/{name}" for name in self.answer_types))
        return {name: metric_mode(name) for name in (*accuracies, "val/loss", "train/loss")}

    def training_step(self, batch: VQABatch, _: int) -> Tensor:
        """Return the loss of a batch."""
        loss, _logits = self.loss(batch)
        self.log("train/loss", loss, batch_size=len(batch.question_id))
        return loss

    def loss(self, batch: VQABatch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and its logits (B, C)."""
        logits, _ = self.model(batch.regions, batch.words)
        return self._loss(logits, batch.targets), logits

    def on_validation_epoch_start(self) -> None:
        """Reset the sums of accuracies and the numbers of questions of each answer type."""
        self.tally = np.zeros((len(self.answer_types), 2))

    def validation_step(self, batch: VQABatch, _: int) -> None:
        """Answer every question."""
        loss, logits = self.loss(batch)
        self.log("val/loss", loss, batch_size=len(batch.question_id), sync_dist=True)
        assert batch.answer_targets is not None
        types, counted = batch.answer_targets.types, batch.answer_targets.counted
        accuracy = batch.answer_targets.score(logits.argmax(1).cpu().numpy())
        for column, values in enumerate((accuracy * counted, counted)):
            self.tally[:, column] += np.bincount(types, values, minlength=len(self.tally))

    @torch.no_grad()
    def samples(self, batch: VQABatch, count: int) -> list[Sample]:
        """Return the answers to the first questions of a batch with their attention and the targets."""
        regions = RegionBatch(*(part[:count] for part in batch.regions))
        logits, weights = self.model(regions, batch.words[:count])
        scores, best = logits.float().sigmoid().max(1)
        forms, vocabulary = self._answer_vocabulary.surface_forms, self._question_vocabulary
        attention, num_regions = weights.float().cpu().numpy(), regions.mask.sum(1).tolist()
        found = []
        for n, (answer, score) in enumerate(zip(best.tolist(), scores.tolist(), strict=True)):
            question = " ".join(vocabulary.decode([w for w in batch.words[n].tolist() if w != PADDING]))
            target = batch.targets[n]
            right = forms[int(target.argmax())] if bool(target.any()) else "none of the known answers"
            lines = [f"question: {question}", f"answer: {forms[answer]} ({score:.2f}), most given: {right}"]
            weight = attention[n : n + 1, : num_regions[n]]
            found.append(Sample(batch.question_id[n], lines, [forms[answer]], weight))
        return found

    @cached_property
    def _question_vocabulary(self) -> Vocabulary:
        return Vocabulary.from_dict(self._record["vocabulary"])

    @cached_property
    def _answer_vocabulary(self) -> AnswerVocabulary:
        return AnswerVocabulary.from_dict(self._record["answers"])

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy in percent, overall and by answer type, over the questions of all processes."""
        tally = torch.from_numpy(self.tally).float().to(self.device)
        correct, count = self.trainer.strategy.reduce(tally, reduce_op="sum").double().T
        self.log("val/accuracy", 100 * correct.sum() / count.sum())
        for n, name in enumerate(self.answer_types):
            if count[n]:  # with limited validation, a type may not occur
                self.log(f"val/accuracy/{name}", 100 * correct[n] / count[n])
