"""What the objectives of captioning share: validation by generated captions."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from bua.data.captions.dataset import CaptionBatch
from bua.data.captions.document_frequencies import Captions
from bua.decode import DECODERS, Decoder, Hypotheses
from bua.errors import check_kind
from bua.inference.generate import generate, resolve_rule_words
from bua.metrics.caption import caption_scores
from bua.metrics.endings import bad_ending_rate
from bua.models.captioners.base import Captioner
from bua.tasks.base import BaseTask
from bua.text.vocabulary import EOS, Vocabulary


class CaptioningTask(BaseTask, ABC):
    """A captioner, validated by the CIDEr of the captions that it generates.

    Args:
        model: Captioner.
        vocabulary: Vocabulary of the captioner.
        captions: Captions to train on, by image.
        decoder: Search in validation, whose rules may name words.
        kwargs: Arguments of ``BaseTask``.

    Raises:
        ValueError: If ``decoder`` is not a search.
    """

    def __init__(
        self,
        model: Captioner[Any, Any],
        *,
        vocabulary: Vocabulary,
        captions: Captions,
        decoder: Decoder,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_kind("decoder", decoder, *DECODERS)
        self.model = model
        self.vocabulary, self.captions = vocabulary, captions
        self.decoder = resolve_rule_words(decoder, vocabulary)
        self.generated: dict[Any, str] = {}
        self.references: dict[Any, list[str]] = {}
        self.num_unfinished = 0

    @abstractmethod
    def validation_loss(self, batch: CaptionBatch, generated: Hypotheses) -> Tensor:
        """Return the loss of a validation batch to log, given the captions generated for it."""

    def on_validation_epoch_start(self) -> None:
        """Forget the captions of the last validation."""
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

    def on_validation_epoch_end(self) -> None:
        """Log CIDEr, with a tokenizer that needs no Java, and the shares of bad and of missing endings."""
        scores = caption_scores(self.generated, self.references, metrics=("cider",), tokenizer="python")
        self.log("val/CIDEr", scores["CIDEr"])
        self.log("val/bad_endings", bad_ending_rate(self.generated.values()))
        self.log("val/unfinished", self.num_unfinished / max(len(self.generated), 1))
