"""What the objectives of captioning share: validation by what a captioner says."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from bua.data.batch import CaptionBatch
from bua.data.captions.document_frequencies import Captions
from bua.decode import DECODERS, Decoder, Hypotheses
from bua.errors import check_kind
from bua.inference.generate import generate, resolve_rule_words
from bua.metrics.caption import caption_scores
from bua.metrics.endings import bad_endings
from bua.models.captioners.base import Captioner
from bua.tasks.base import BaseTask
from bua.text.vocabulary import EOS, Vocabulary


class CaptioningTask(BaseTask, ABC):
    """A captioner, validated by the CIDEr of what it says.

    Args:
        model: a captioner.
        vocabulary: its words.
        captions: those that are trained on, by image.
        decoder: the search in validation; its rules may name words.
        kwargs: of ``BaseTask``.
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
        self.said: dict[Any, str] = {}
        self.references: dict[Any, list[str]] = {}
        self.unfinished = 0

    @abstractmethod
    def validation_loss(self, batch: CaptionBatch, said: Hypotheses) -> Tensor:
        """Return what is logged as loss of a validation batch, of which this was said."""

    def on_validation_epoch_start(self) -> None:
        """Forget the captions of the last validation."""
        self.said, self.references, self.unfinished = {}, {}, 0

    def validation_step(self, batch: CaptionBatch, _: int) -> None:
        """Say a caption of every image."""
        said = generate([self.model], [batch.regions], self.decoder)
        self.log("val/loss", self.validation_loss(batch, said), batch_size=len(batch.image_id))
        best = said.words[:, 0]
        self.unfinished += int((best != EOS).all(1).sum())
        for image_id, words, references in zip(batch.image_id, best.tolist(), batch.references, strict=True):
            self.said[image_id] = " ".join(self.vocabulary.decode(words))
            self.references[image_id] = references

    def on_validation_epoch_end(self) -> None:
        """Log CIDEr, with a tokeniser that needs no Java, and how many captions end badly or not at all."""
        scores = caption_scores(self.said, self.references, metrics=("cider",), tokenizer="python")
        self.log("val/CIDEr", scores["CIDEr"])
        self.log("val/bad_endings", bad_endings(self.said.values()))
        self.log("val/unfinished", self.unfinished / max(len(self.said), 1))
