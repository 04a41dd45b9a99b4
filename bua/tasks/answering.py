"""Training a VQA model on soft targets, validated by the official accuracy."""

from typing import Any

from torch import Tensor, nn

from bua.data.batch import QuestionBatch
from bua.metrics.vqa import Asked, vqa_accuracy
from bua.tasks.answer_loss import AnswerLoss
from bua.tasks.beginning import begin_with_images, begin_with_words
from bua.tasks.optimise import Task
from bua.text.answers import AnswerVocabulary


class Answering(Task):
    """Soft targets: the score of each answer is what it would have earned.

    Args:
        model: a VQA model.
        answers: the answers that it chooses from.
        loss: of scores.
        word_vectors: a file of word vectors to begin with, or nothing.
        missing_words: what words without a vector begin as: zeros or random.
        answer_images: a file of vectors of images of answers to begin with, or nothing.
        kwargs: of ``Task``.

    Raises:
        InputError: a file cannot be read or does not fit the model.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        answers: AnswerVocabulary,
        loss: AnswerLoss | None = None,
        word_vectors: str | None = None,
        missing_words: str = "zeros",
        answer_images: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model, self.answers = model, answers
        self._loss = loss or AnswerLoss()
        if word_vectors is not None:
            words, said = self._record["vocabulary"]["words"], self._record["answers"]["answers"]
            begin_with_words(model, word_vectors, words, said, missing_words)
        if answer_images is not None:
            begin_with_images(model, answer_images, self._record["answers"]["answers"])
        self.said: dict[int, str] = {}
        self.asked: dict[int, Asked] = {}

    def training_step(self, batch: QuestionBatch, _: int) -> Tensor:
        """Return the loss."""
        loss, _scores = self.loss(batch)
        self.log("train/loss", loss, batch_size=len(batch.question_id))
        return loss

    def loss(self, batch: QuestionBatch) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits (B, C)."""
        logits, _ = self.model(batch.regions, batch.words)
        return self._loss(logits, batch.targets), logits

    def on_validation_epoch_start(self) -> None:
        """Forget the answers of the last validation."""
        self.said, self.asked = {}, {}

    def validation_step(self, batch: QuestionBatch, _: int) -> None:
        """Answer every question."""
        loss, logits = self.loss(batch)
        self.log("val/loss", loss, batch_size=len(batch.question_id))
        for question_id, asked, best in zip(
            batch.question_id, batch.asked, logits.argmax(1).tolist(), strict=True
        ):
            self.said[question_id] = self.answers.surface[best]
            self.asked[question_id] = asked

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy in percent, overall and by type of answer."""
        accuracy = vqa_accuracy(self.said, self.asked)
        self.log("val/accuracy", float(accuracy["overall"]))  # type: ignore[arg-type]
        for name, value in accuracy["per_answer_type"].items():  # type: ignore[union-attr]
            self.log(f"val/accuracy/{name}", value)
