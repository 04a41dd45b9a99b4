"""Cross-entropy of captions: label smoothing, scheduled sampling, an explicit normaliser.

Shapes: B images, N captions an image, T words, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bua.data.batch import CaptionBatch
from bua.decode import Hypotheses
from bua.errors import InputError, check_flag, check_integer, check_kind, check_number
from bua.models.captioners.base import Captioner
from bua.structures.region_batch import RegionBatch
from bua.tasks.captioning import CaptioningTask
from bua.tasks.embeddings import init_caption_embeddings
from bua.tasks.losses import LossReduction
from bua.text.vocabulary import PADDING, UNKNOWN


@dataclass(frozen=True)
class ScheduledSampling:
    """How often a model reads its own word instead of the annotator's (Bengio et al. 2015).

    Attributes:
        most: probability that is never exceeded; 0 for none at all.
        step: it grows by so much.
        every: every so many epochs.
        start: counting from this epoch on; the first ``every`` after it are still without.
    """

    most: float = 0.0
    step: float = 0.05
    every: int = 5
    start: int = 0

    def __post_init__(self) -> None:
        check_number("most", self.most, most=1)
        check_number("step", self.step)
        check_integer("every", self.every, 1)
        check_integer("start", self.start)

    def at(self, epoch: int) -> float:
        """Return the probability in an epoch."""
        return min(self.most, self.step * (max(epoch - self.start, 0) // self.every))


class CaptionCrossEntropyTask(CaptioningTask):
    """Cross-entropy of every word given the words before it.

    Args:
        model: a captioner.
        normaliser: what the sum over words is divided by.
        label_smoothing: so much of the probability of a target is spread over all other words
            (Szegedy et al. 2016, as self-critical.pytorch spreads it).
        ignore_unknown: the unknown word is no target.
        sampling: how often the model reads its own words.
        word_vectors: a file of word vectors to begin with, or nothing.
        kwargs: of ``CaptioningTask``.

    Raises:
        InputError: the file cannot be read or does not fit the model.
    """

    def __init__(
        self,
        model: Captioner[Any, Any],
        *,
        normaliser: LossReduction,
        label_smoothing: float,
        ignore_unknown: bool,
        sampling: ScheduledSampling,
        word_vectors: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, **kwargs)
        check_kind("normaliser", normaliser, LossReduction)
        check_kind("sampling", sampling, ScheduledSampling)
        check_number("label_smoothing", label_smoothing, most=1, without=1)
        check_flag("ignore_unknown", ignore_unknown)
        self.normaliser, self.label_smoothing = normaliser, label_smoothing
        self.ignore_unknown, self.sampling = ignore_unknown, sampling
        if word_vectors is not None and self.vocabulary.pieces:
            raise InputError(f"{word_vectors}: vectors are of words, and the captioner says pieces of words")
        if word_vectors is not None:
            init_caption_embeddings(model, word_vectors, self.vocabulary.words)

    def training_step(self, batch: CaptionBatch, _: int) -> Tensor:
        """Return the loss of a batch."""
        share = self.sampling.at(self.current_epoch)
        loss = self._loss(batch, self.label_smoothing, share)
        if share > 0:
            self.log("train/own_words", share, batch_size=len(batch.image_id))
        self.log("train/loss", loss, batch_size=len(batch.image_id))
        return loss

    def validation_loss(self, batch: CaptionBatch, said: Hypotheses) -> Tensor:
        """Return ``loss``, whatever was said."""
        return self.loss(batch)

    def loss(self, batch: CaptionBatch) -> Tensor:
        """Return the loss without smoothing, the annotators' words being read."""
        return self._loss(batch, 0.0, 0.0)

    def _loss(self, batch: CaptionBatch, smoothing: float, share: float) -> Tensor:
        words, targets = batch.words[..., :-1], batch.words[..., 1:]
        counted = targets != PADDING
        if self.ignore_unknown:
            counted = counted & (targets != UNKNOWN)
        if share > 0:
            logits = sampled_forward(self.model, batch.regions, words, share)[counted]
        else:
            logits = self.model(batch.regions, words, counted)
        values = torch.zeros(targets.shape, device=logits.device)
        values[counted] = word_losses(logits, targets[counted], smoothing)
        return self.normaliser(values, counted)


def word_losses(
    logits: Float[Tensor, "M V"], targets: Int[Tensor, " M"], smoothing: float
) -> Float[Tensor, " M"]:
    """Return the cross-entropy of each word against 1 - s on its target and s / (V - 1) on every other."""
    logits = logits.float()
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    if smoothing == 0:
        return losses
    share = smoothing / (logits.shape[-1] - 1)
    every = logits.logsumexp(-1) * logits.shape[-1] - logits.sum(-1)
    return (1 - smoothing - share) * losses + share * every


def sampled_forward(
    model: Captioner[Any, Any], regions: RegionBatch, words: Int[Tensor, "B N T"], share: float
) -> Float[Tensor, "B N T V"]:
    """Return logits where every word read but the first is, with probability ``share``, the model's own."""
    memory = model.encode(regions)
    step, state = model.stepping(memory), model.start(memory, words.shape[1])
    logits: list[Tensor] = []
    for t in range(words.shape[2]):
        read = words[:, :, t]
        if t > 0:
            own = logits[-1].detach().float().softmax(-1).flatten(0, 1).multinomial(1).view_as(read)
            chosen = torch.rand(read.shape, device=read.device) < share
            read = torch.where(chosen & (read != PADDING), own, read)
        said, _, state = step(read, state)
        logits.append(said)
    return torch.stack(logits, 2)
