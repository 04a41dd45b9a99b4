"""Training a captioner by cross-entropy, validated by the CIDEr of what it says."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bua.data.batch import CaptionBatch
from bua.decode import Hypotheses, beam
from bua.metrics.caption import caption_scores
from bua.tasks.optimise import Task
from bua.text.vocabulary import BOS, EOS, PADDING, UNKNOWN, Vocabulary


class Captioning(Task):
    """Cross-entropy of every word given the words before it.

    Args:
        model: a captioner.
        vocabulary: its words.
        width: beams in validation; 1 is greedy.
        max_words: longest caption said, its end included.
        kwargs: of ``Task``.
    """

    def __init__(
        self, model: nn.Module, *, vocabulary: Vocabulary, width: int, max_words: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.model: Any = model
        self.vocabulary = vocabulary
        self.width, self.max_words = width, max_words
        self.said: dict[Any, str] = {}
        self.references: dict[Any, list[str]] = {}

    def training_step(self, batch: CaptionBatch, _: int) -> Tensor:
        """Return the cross-entropy a word."""
        loss = self.loss(batch)
        self.log("train/loss", loss, batch_size=len(batch.image_id))
        return loss

    def loss(self, batch: CaptionBatch) -> Tensor:
        """Return the mean cross-entropy over the words of a batch, ends included.

        Unknown words and padding are no targets.
        """
        logits = self.model(batch.features, batch.mask, batch.words[..., :-1])
        targets = batch.words[..., 1:]
        real = (targets != PADDING) & (targets != UNKNOWN)
        return F.cross_entropy(logits[real], targets[real], reduction="sum") / real.sum().clamp(min=1)

    def on_validation_epoch_start(self) -> None:
        """Forget the captions of the last validation."""
        self.said, self.references = {}, {}

    def validation_step(self, batch: CaptionBatch, _: int) -> None:
        """Say a caption of every image."""
        self.log("val/loss", self.loss(batch), batch_size=len(batch.image_id))
        found = caption_regions(
            self.model, batch.features, batch.mask, width=self.width, max_words=self.max_words
        )
        for n, image_id in enumerate(batch.image_id):
            self.said[image_id] = " ".join(self.vocabulary.decode(found.words[n, 0].tolist()))
            self.references[image_id] = batch.references[n]

    def on_validation_epoch_end(self) -> None:
        """Log CIDEr, with a tokeniser that needs no Java."""
        scores = caption_scores(self.said, self.references, metrics=("cider",), tokenizer="python")
        self.log("val/CIDEr", scores["CIDEr"])


@torch.no_grad()
def caption_regions(model: Any, features: Tensor, mask: Tensor, *, width: int, max_words: int) -> Hypotheses:
    """Say captions of a batch of images by beam search; the model must be in eval mode.

    Args:
        model: a captioner.
        features: (B, K, D).
        mask: (B, K).
        width: beams; 1 is greedy.
        max_words: longest caption, its end included.
    """
    memory = model.encode(features, mask)

    def step(words: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        logits, weights, state = model.step(words, memory, state)
        return logits.float().log_softmax(-1), weights, state

    return beam(
        step,
        model.start(memory, 1),
        images=len(features),
        bos=BOS,
        eos=EOS,
        padding=PADDING,
        width=width,
        max_words=max_words,
        banned=(PADDING, BOS, UNKNOWN),
        device=features.device,
    )
