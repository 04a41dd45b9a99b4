"""A trained model in use: regions or photographs in, words out, with where it looked.

Shapes: K regions, T words.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from bua.data.batch import RegionInput, pad_questions
from bua.decode import Automaton, BeamSearch, Decoder
from bua.detectors.detector import Detector, Photo, detect_regions
from bua.detectors.frozen_detector import autocast_context
from bua.detectors.photo import read_photo
from bua.errors import InputError
from bua.inference.generate import generate, resolve_rule_words
from bua.inference.outputs import (
    CaptionCandidate,
    CaptionOutput,
    VQAOutput,
    VQAPrediction,
    merge_subword_attention,
)
from bua.store.reader import FeatureStore, ImageId, PaddedRegions
from bua.structures.region_batch import RegionBatch
from bua.structures.regions import Regions
from bua.tasks.shares import checked_shares
from bua.text.answers import AnswerVocabulary
from bua.text.vocabulary import Vocabulary

Image = Path | str | Photo | PIL.Image.Image


class Predictor:
    """A captioner or a VQA model with everything that it needs to be used.

    Args:
        model: in the state in which it was saved.
        record: what its checkpoint says: kind, vocabulary, region_input, features.
        detector: makes the detector whose features the model was trained on; called once, when
            a photograph is first given.
        source: what to call it in errors.
        device: to run on.
        precision: of the model's products: one of ``PRECISIONS``.

    Raises:
        ValueError: there is no such precision on the device.
    """

    def __init__(
        self,
        model: nn.Module,
        record: Mapping[str, Any],
        *,
        detector: Callable[[], Detector],
        source: str,
        device: str = "cpu",
        precision: str = "32-true",
    ) -> None:
        self.model, self.record, self.source = model.to(device).eval(), record, source
        self.others: Sequence[Predictor] = ()
        self.shares: Sequence[float] | None = None
        self.device, self.precision = torch.device(device), precision
        self._computing = autocast_context(self.device, precision)
        self.kind = str(record["kind"])
        self.vocabulary = Vocabulary.from_dict(record["vocabulary"], source)
        self.answers = AnswerVocabulary.from_dict(record["answers"], source) if self.kind == "vqa" else None
        self.region_input = RegionInput(**record["region_input"])
        self._make_detector = detector
        self._detector: Detector | None = None

    @property
    def detector(self) -> Detector:
        """The detector, made when it is first needed."""
        if self._detector is None:
            self._detector = self._make_detector()
        return self._detector

    def with_others(
        self, others: Sequence["Predictor"], shares: Sequence[float] | None = None
    ) -> "Predictor":
        """Return a captioner that says every word together with others (an ensemble).

        Args:
            others: captioners, of any kind; they join those that are together with this one already.
            shares: of this one and of each other in the mean of their probabilities, as numbers above 0;
                equal ones by default.

        Raises:
            InputError: one is no captioner or has other words, or the shares are not as many numbers
                above 0.
        """
        others = [*self.others, *others]
        shares = checked_shares(shares, 1 + len(others))
        for other in (self, *others):
            other._must_be("caption")
            if other.vocabulary != self.vocabulary:
                raise InputError(f"{other.source}: its vocabulary is not that of {self.source}")
        together = Predictor(
            self.model,
            self.record,
            detector=self._make_detector,
            source=self.source,
            device=str(self.device),
            precision=self.precision,
        )
        together.others, together.shares = others, shares
        return together

    def regions(self, image: Image | Regions) -> Regions:
        """Return the regions of a photograph, given as a path, a Pillow image or pixels (H, W, 3)."""
        if isinstance(image, Regions):
            return image
        if isinstance(image, PIL.Image.Image):
            photo = np.array(image.convert("RGB"))
        else:
            photo = image if isinstance(image, np.ndarray) else read_photo(image)
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
            raise InputError(f"pixels are {photo.shape} {photo.dtype}; (height, width, 3) uint8 is needed")
        return detect_regions(self.detector, photo)

    def caption(self, image: Image | Regions, *, decoder: Decoder | None = None) -> CaptionOutput:
        """Describe one image.

        Args:
            image: a path, pixels (H, W, 3) or regions.
            decoder: the search; five beams by default. Its rules may name words.
        """
        self._must_be("caption")
        for other in self.others:
            if self._differs(other.record["features"]):
                raise InputError(
                    f"{other.source}: it looks at features of another detector than {self.source}, of which "
                    "a photograph has one; give each its store (caption_store)"
                )
        regions = self.regions(image)
        batches = [member._tensors(regions) for member in (self, *self.others)]
        return CaptionOutput(self._say(batches, decoder)[0], regions)

    def ask(self, image: Image | Regions, question: str, *, candidates: int = 5) -> VQAOutput:
        """Answer a question about one image.

        Args:
            image: a path, pixels (H, W, 3) or regions.
            question: in words.
            candidates: so many answers are returned.
        """
        self._must_be("vqa")
        if not question.strip():
            raise InputError("question is empty; ask something")
        regions = self.regions(image)
        found = self.answered(*self.scores(self._tensors(regions), [question]), candidates)[0]
        return VQAOutput(found.candidates, found.weights, regions)

    def caption_store(
        self,
        store: FeatureStore,
        image_ids: Sequence[ImageId],
        *,
        others: Sequence[tuple[FeatureStore, Sequence[ImageId]]] | None = None,
        decoder: Decoder | None = None,
        automaton: Automaton | None = None,
    ) -> list[list[CaptionCandidate]]:
        """Caption images of a store, as one batch, and return all that the search found, best first.

        Args:
            store: regions of the images.
            image_ids: images.
            others: for each other captioner, where it looks: its store, and the ids of these images in it.
                By default all look at the same.
            decoder: as of ``caption``.
            automaton: what must be said of each image, for a beam search.
        """
        self._must_be("caption")
        places = [(store, image_ids), *(others or [(store, image_ids)] * len(self.others))]
        read: dict[Any, RegionBatch] = {}  # by all that look at the same
        regions = []
        for member, (where, ids) in zip((self, *self.others), places, strict=True):
            key = str(where.path), tuple(ids), member.region_input
            if key not in read:
                read[key] = member.region_input.load(where, ids)
            regions.append(read[key])
        return self._say(regions, decoder, automaton)

    def _say(
        self, regions: Sequence[RegionBatch], decoder: Decoder | None, automaton: Automaton | None = None
    ) -> list[list[CaptionCandidate]]:
        search = resolve_rule_words(decoder or BeamSearch(), self.vocabulary)
        more = {} if automaton is None else {"automaton": automaton.to(self.device)}
        with self._computing:
            models: list[Any] = [self.model, *(other.model for other in self.others)]
            found = generate(
                models, [batch.to(self.device) for batch in regions], search, self.shares, **more
            )
        counts = regions[0].mask.sum(1).tolist()
        words, weights = found.words.tolist(), found.weights.float().cpu().numpy()
        said: list[list[CaptionCandidate]] = []
        for b, count in enumerate(counts):
            said.append([])
            for n, log_prob in enumerate(found.log_prob[b].tolist()):
                if log_prob > -math.inf:
                    spoken = self.vocabulary.spoken(words[b][n])
                    looked = merge_subword_attention(
                        weights[b, n, :, :count], [length for _, length in spoken]
                    )
                    one = [word for word, _ in spoken]
                    if not (self.vocabulary.pieces and any(one == other.words for other in said[b])):
                        said[b].append(CaptionCandidate(" ".join(one), one, log_prob, looked))
        return said

    def answer_store(
        self,
        store: FeatureStore,
        image_ids: Sequence[ImageId],
        questions: Sequence[str],
        *,
        candidates: int = 1,
    ) -> list[VQAPrediction]:
        """Answer questions about images of a store, as one batch.

        Args:
            store: regions of the images.
            image_ids: of each question, its image.
            questions: in words.
            candidates: so many answers to each are returned.
        """
        regions = self.region_input.load(store, image_ids)
        return self.answered(*self.scores(regions, questions), candidates)

    @torch.no_grad()
    def scores(
        self, regions: RegionBatch, questions: Sequence[str]
    ) -> tuple[Float[Tensor, "B C"], list[NDArray[np.float32]]]:
        """Return the scores of all answers, 0 to 1, and how much each of an image's regions was looked at."""
        self._must_be("vqa")
        encoded = [self.vocabulary.encode(question) for question in questions]
        padding = self.record.get("padding", "front")
        words = pad_questions(encoded, self.record["length"], padding).to(self.device)
        with self._computing:
            logits, weights = self.model(regions.to(self.device), words)
        looked = weights.float().cpu().numpy()
        counts = regions.mask.sum(1).tolist()
        return logits.float().sigmoid(), [row[:count] for row, count in zip(looked, counts, strict=True)]

    def answered(
        self, scores: Float[Tensor, "B C"], weights: Sequence[NDArray[np.float32]], candidates: int
    ) -> list[VQAPrediction]:
        """Return the best answers by their scores, as they are written."""
        assert self.answers is not None
        best = scores.topk(min(candidates, len(self.answers)))
        surface = self.answers.surface
        return [
            VQAPrediction([(surface[n], score) for n, score in zip(*pair, strict=True)], looked)
            for *pair, looked in zip(best.indices.tolist(), best.values.tolist(), weights, strict=True)
        ]

    def check_width(self, width: int, source: str) -> None:
        """Raise ``InputError`` if features have not as many numbers a region as the model was trained on."""
        wanted, given = self.record.get("model", {}).get("feature_size"), self.region_input.size(width)
        if wanted is not None and given != wanted:
            raise InputError(
                f"{source}: regions of {width} numbers; {self.source} looks at {width + wanted - given}"
            )

    def check_features(self, identity: Mapping[str, Any], source: str) -> None:
        """Raise ``InputError`` if features are not of the detector that the model was trained on."""
        if key := self._differs(identity):
            raise InputError(
                f"{source}: features of another detector than {self.source} was trained on: {key} is "
                f"{identity[key]}, not {self.record['features'][key]}; extract with that one, or give "
                "any_features=true"
            )

    def _differs(self, identity: Mapping[str, Any]) -> str | None:
        """Return in what a detector differs first from that of the training; None if it does not."""
        trained = self.record["features"]
        keys = ("detector", "weights_sha256", "configuration")
        return next((key for key in keys if trained[key] != identity[key]), None)

    def _must_be(self, kind: str) -> None:
        if self.kind != kind:
            does = {"caption": "captions", "vqa": "answers questions"}
            raise InputError(f"{self.source}: this model {does.get(self.kind, self.kind)}; another is needed")

    def _tensors(self, regions: Regions) -> RegionBatch:
        regions.check("that was given")
        self.check_width(regions.features.shape[1], "the image")
        features = np.array(regions.features, np.float32)
        padded = PaddedRegions(
            features[None],
            np.array(regions.boxes)[None],
            np.ones((1, len(regions)), np.bool_),
            np.array([regions.size], np.int32),
        )
        return self.region_input.tensors(padded).to(self.device)
