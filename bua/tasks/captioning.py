"""Training a captioner: validation by generated captions, and cross-entropy against reference captions.

How a loss is normalized matters as much as the learning rate, and every code base does it differently:
``LossReduction`` names the variants.

Shapes: B images, N captions per image, T words, M counted words, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.data.captions.dataset import CaptionBatch
from bua.data.captions.document_frequencies import Captions
from bua.decode import DECODERS, Decoder, Hypotheses, resolve_rule_words
from bua.errors import InputError, check_flag, check_integer, check_kind, check_number
from bua.inference.captioning import generate
from bua.inference.predictor import merge_subword_attention
from bua.metrics.caption import caption_scores
from bua.metrics.endings import bad_ending_rate
from bua.models.captioners.base import Captioner
from bua.structures.region_batch import RegionBatch
from bua.tasks.base import BaseTask
from bua.tasks.embeddings import init_caption_embeddings
from bua.tasks.extra_metrics import ExtraMetrics
from bua.tasks.metric_modes import metric_mode
from bua.tasks.samples import Sample
from bua.text.vocabulary import EOS, PADDING, UNKNOWN, Vocabulary

#: Normalizations of a loss over words.
PER_WORDS = ("word", "caption", "caption_mean")


@dataclass(frozen=True)
class LossReduction:
    """Reduction of the losses of words to a single number.

    Attributes:
        per: ``word``: the mean over all words (self-critical.pytorch, xmodaler, Caffe); ``caption``: the sum
            over the words of a caption, the mean over captions (updown-baseline); ``caption_mean``: the mean
            over the words of a caption, the mean over captions (Oscar).
        scale: Factor of the result; 20 in Up-Down's Caffe release.

    Raises:
        ValueError: If ``per`` does not exist or ``scale`` is not above 0.
    """

    per: str = "word"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.per not in PER_WORDS:
            raise ValueError(f"per must be one of {', '.join(PER_WORDS)}, got {self.per!r}")
        check_number("reduction.scale", self.scale, without=0)

    def __call__(self, losses: Float[Tensor, "B N T"], counted: Bool[Tensor, "B N T"]) -> Float[Tensor, ""]:
        """Return the reduced loss; 0 if no word is counted.

        Args:
            losses: Losses of the words.
            counted: True for words that are included; a caption without any is not counted as a caption.
        """
        total = losses.masked_fill(~counted, 0)
        words = counted.sum(-1)
        if self.per == "word":
            return self.scale * total.sum() / words.sum().clamp(min=1)
        captions = total.sum(-1)
        if self.per == "caption_mean":
            captions = captions / words.clamp(min=1)
        return self.scale * captions.sum() / (words > 0).sum().clamp(min=1)


class CaptioningTask(BaseTask, ABC):
    """A captioner, validated by the CIDEr of the captions that it generates.

    Args:
        model: Captioner.
        vocabulary: Vocabulary of the captioner.
        captions: Captions to train on, by image.
        decoder: Decoding algorithm for validation; its rules may refer to words by name.
        extra_metrics: Metrics of torchmetrics or of its interface, by name, which are updated with the
            generated captions and the lists of their references, and logged as ``val/NAME``. Default: none.
        kwargs: Arguments of ``BaseTask``.

    Raises:
        InputError: If ``extra_metrics`` has something other than such metrics.
        ValueError: If ``model`` is not a captioner, or ``decoder`` is not a decoding algorithm.
    """

    def __init__(
        self,
        model: Captioner[Any, Any],
        *,
        vocabulary: Vocabulary,
        captions: Captions,
        decoder: Decoder,
        extra_metrics: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.extra_metrics = ExtraMetrics(extra_metrics, self.own_metrics)
        check_kind("model", model, Captioner)
        check_kind("decoder", decoder, *DECODERS)
        self.model = model
        self.vocabulary, self.captions = vocabulary, captions
        self.decoder = resolve_rule_words(decoder, vocabulary)
        self.generated: dict[Any, str] = {}
        self.references: dict[Any, list[str]] = {}
        self.num_unfinished = 0

    @property
    def metrics(self) -> dict[str, str]:
        """Metrics of the task, and extra ones."""
        return self.own_metrics | self.extra_metrics.modes

    @property
    def own_metrics(self) -> dict[str, str]:
        """CIDEr is best when high; losses, bad endings and unfinished captions when low."""
        names = ("val/CIDEr", "val/loss", "val/bad_endings", "val/unfinished", "train/loss")
        return {name: metric_mode(name) for name in names}

    @abstractmethod
    def validation_loss(self, batch: CaptionBatch, generated: Hypotheses) -> Tensor:
        """Return the loss of a validation batch to log, given the captions generated for it."""

    def on_validation_epoch_start(self) -> None:
        """Discard the captions of the last validation."""
        self.generated, self.references, self.num_unfinished = {}, {}, 0

    def validation_step(self, batch: CaptionBatch, _: int) -> None:
        """Generate a caption of every image."""
        generated = generate([self.model], [batch.regions], self.decoder)
        self.log("val/loss", self.validation_loss(batch, generated), batch_size=len(batch.image_id))
        best = generated.words[:, 0]
        self.num_unfinished += int((best != EOS).all(1).sum())
        for image_id, words, references in zip(batch.image_id, best.tolist(), batch.references, strict=True):
            self.generated[image_id] = " ".join(self.vocabulary.decode(words))
            self.references[image_id] = references

    def samples(self, batch: CaptionBatch, count: int) -> list[Sample]:
        """Return the captions of the first images of a batch with their attention and their references."""
        regions = RegionBatch(*(part[:count] for part in batch.regions))
        generated = generate([self.model], [regions], self.decoder)
        weights, num_regions = generated.weights[:, 0].float().cpu().numpy(), regions.mask.sum(1).tolist()
        found = []
        for n, words in enumerate(generated.words[:, 0].tolist()):
            pairs = self.vocabulary.decode_with_lengths(words)
            texts = [word for word, _ in pairs]
            attention = merge_subword_attention(weights[n, :, : num_regions[n]], [size for _, size in pairs])
            references = " | ".join(batch.references[n])
            lines = [f"caption: {' '.join(texts)}", f"references: {references}"]
            found.append(Sample(batch.image_id[n], lines, texts, attention))
        return found

    def on_validation_epoch_end(self) -> None:
        """Log CIDEr, with a tokenizer that needs no Java, and the fractions of bad and of missing endings."""
        scores = caption_scores(self.generated, self.references, metrics=("cider",), tokenizer="python")
        self.log("val/CIDEr", scores["CIDEr"])
        self.log("val/bad_endings", bad_ending_rate(self.generated.values()))
        self.log("val/unfinished", self.num_unfinished / max(len(self.generated), 1))
        references = [self.references[image_id] for image_id in self.generated]
        self.log_dict(self.extra_metrics.score(list(self.generated.values()), references))


@dataclass(frozen=True)
class ScheduledSampling:
    """Scheduled sampling: the probability of feeding a model its own word (Bengio et al. 2015).

    Attributes:
        max_prob: Maximum probability; 0 disables scheduled sampling.
        increment: Amount by which the probability grows.
        every_n_epochs: Number of epochs after which it grows.
        start_epoch: Epoch from which epochs are counted; the first ``every_n_epochs`` after it still have
            probability 0.

    Raises:
        ValueError: If a number has the wrong type or is out of range.
    """

    max_prob: float = 0.0
    increment: float = 0.05
    every_n_epochs: int = 5
    start_epoch: int = 0

    def __post_init__(self) -> None:
        check_number("max_prob", self.max_prob, most=1)
        check_number("increment", self.increment)
        check_integer("every_n_epochs", self.every_n_epochs, 1)
        check_integer("start_epoch", self.start_epoch)

    def prob(self, epoch: int) -> float:
        """Return the probability in an epoch."""
        steps = max(epoch - self.start_epoch, 0) // self.every_n_epochs
        return min(self.max_prob, self.increment * steps)


class CaptionCrossEntropyTask(CaptioningTask):
    """Cross-entropy of every word given the words before it.

    Args:
        model: Captioner.
        reduction: Normalization of the loss.
        label_smoothing: Probability that is taken from a target and spread over all other words (Szegedy et
            al. 2016, spread as in self-critical.pytorch).
        ignore_unknown: Whether the unknown word is excluded from the targets.
        sampling: Scheduled sampling, how often the model is fed its own words.
        word_vectors: File of word vectors to initialize the embedding with. Default: none.
        kwargs: Arguments of ``CaptioningTask``.

    Raises:
        InputError: If the file of word vectors cannot be read or does not fit the model.
        ValueError: If an option has the wrong type or is out of range.
    """

    def __init__(
        self,
        model: Captioner[Any, Any],
        *,
        reduction: LossReduction,
        label_smoothing: float,
        ignore_unknown: bool,
        sampling: ScheduledSampling,
        word_vectors: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, **kwargs)
        check_kind("reduction", reduction, LossReduction)
        check_kind("sampling", sampling, ScheduledSampling)
        check_number("label_smoothing", label_smoothing, most=1, without=1)
        check_flag("ignore_unknown", ignore_unknown)
        self.reduction, self.label_smoothing = reduction, label_smoothing
        self.ignore_unknown, self.sampling = ignore_unknown, sampling
        if word_vectors is not None and self.vocabulary.subword_model:
            raise InputError(f"{word_vectors}: has vectors of words, but the captioner generates subwords")
        if word_vectors is not None:
            init_caption_embeddings(model, word_vectors, self.vocabulary.words)

    def training_step(self, batch: CaptionBatch, _: int) -> Tensor:
        """Return the loss of a batch."""
        prob = self.sampling.prob(self.current_epoch)
        loss = self._loss(batch, self.label_smoothing, prob)
        if prob > 0:
            self.log("train/sampling_prob", prob, batch_size=len(batch.image_id))
        self.log("train/loss", loss, batch_size=len(batch.image_id))
        return loss

    def validation_loss(self, batch: CaptionBatch, generated: Hypotheses) -> Tensor:
        """Return ``loss``, which does not depend on the generated captions."""
        return self.loss(batch)

    def loss(self, batch: CaptionBatch) -> Tensor:
        """Return the loss without label smoothing and scheduled sampling."""
        return self._loss(batch, 0.0, 0.0)

    def _loss(self, batch: CaptionBatch, smoothing: float, sampling_prob: float) -> Tensor:
        words, targets = batch.words[..., :-1], batch.words[..., 1:]
        counted = targets != PADDING
        if self.ignore_unknown:
            counted = counted & (targets != UNKNOWN)
        if sampling_prob > 0:
            logits = sampled_forward(self.model, batch.regions, words, sampling_prob)[counted]
        else:
            logits = self.model(batch.regions, words, counted)
        losses = torch.zeros(targets.shape, device=logits.device)
        losses[counted] = word_losses(logits, targets[counted], smoothing)
        return self.reduction(losses, counted)


def word_losses(
    logits: Float[Tensor, "M V"], targets: Int[Tensor, " M"], smoothing: float
) -> Float[Tensor, " M"]:
    """Return the cross-entropy of each word against 1 - s on its target and s / (V - 1) on every other."""
    logits = logits.float()
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    if smoothing == 0:
        return losses
    share = smoothing / (logits.shape[-1] - 1)
    all_words = logits.logsumexp(-1) * logits.shape[-1] - logits.sum(-1)
    return (1 - smoothing - share) * losses + share * all_words


def sampled_forward(
    model: Captioner[Any, Any], regions: RegionBatch, words: Int[Tensor, "B N T"], prob: float
) -> Float[Tensor, "B N T V"]:
    """Return logits; each input word after the first is, with probability ``prob``, the model's own."""
    memory = model.encode(regions)
    step, state = model.make_step(memory), model.init_state(memory, words.shape[1])
    logits: list[Tensor] = []
    for t in range(words.shape[2]):
        read = words[:, :, t]
        if t > 0:
            own = logits[-1].detach().float().softmax(-1).flatten(0, 1).multinomial(1).view_as(read)
            sampled = torch.rand(read.shape, device=read.device) < prob
            read = torch.where(sampled & (read != PADDING), own, read)
        step_logits, _, state = step(read, state)
        logits.append(step_logits)
    return torch.stack(logits, 2)
