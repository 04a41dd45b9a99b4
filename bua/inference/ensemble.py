"""Ensembles of models, each with its own features.

Ensembles average the word probabilities of captioners, or the answer scores of VQA models.

Shapes: B images or questions, C answers, K regions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bua.data.image_lookup import RegionInput
from bua.decode import Automaton, Decoder
from bua.errors import InputError, check_number
from bua.inference.captioning import CaptionPredictor, caption_ensemble
from bua.inference.predictor import CaptionCandidate, CaptionOutput, Image, Predictor, VQAPrediction
from bua.inference.vqa import VQAPredictor
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId
from bua.structures.region_batch import RegionBatch
from bua.structures.regions import Regions


@dataclass(frozen=True)
class StoredImages:
    """Images in a feature store.

    Attributes:
        store: Feature store.
        ids: Ids in the store, by image id.
    """

    store: FeatureStore
    ids: Mapping[ImageId, ImageId]

    def __getitem__(self, image_id: ImageId) -> Regions:
        """Return the regions of an image."""
        return self.store[self.ids[image_id]]


class Ensemble:
    """An ensemble of one or more models.

    Args:
        predictors: Captioners with the same vocabulary, or VQA models with the same answers in any order.
        weights: Weight of each model, a number above 0. Default: equal weights.

    Raises:
        InputError: If models differ in kind, vocabulary or answers, or the weights are invalid.
    """

    def __init__(self, predictors: Sequence[Predictor], weights: Sequence[float] | None = None) -> None:
        self.predictors = list(predictors)
        self.first = self.predictors[0]
        self.weights = check_weights(weights, len(self.predictors))
        for other in self.predictors[1:]:
            if type(other) is not type(self.first):
                raise InputError(
                    f"{other.source}: this model {other.does}, but {self.first.source} {self.first.does}; an "
                    "ensemble needs models of one kind"
                )
        if isinstance(self.first, VQAPredictor):
            models = [p for p in self.predictors if isinstance(p, VQAPredictor)]
            self._orders = [_answer_order(self.first, model) for model in models]
            return
        for other in self.predictors[1:]:
            if other.vocabulary != self.first.vocabulary:
                raise InputError(f"{other.source}: its vocabulary is not that of {self.first.source}")

    def caption(self, image: Image | Regions, *, decoder: Decoder | None = None) -> CaptionOutput:
        """Describe one image; see ``CaptionPredictor.caption``.

        Raises:
            InputError: If a model was trained on features of a different detector than the first.
        """
        for other in self.predictors[1:]:
            if self.first.feature_difference(other.record["features"]):
                raise InputError(
                    f"{other.source}: was trained on features of a different detector than "
                    f"{self.first.source}, but an image is given to one detector; give each model its "
                    "features (caption_batch)"
                )
        regions = self.first.detect(image)
        batches = [predictor.to_batch(regions) for predictor in self.predictors]
        return CaptionOutput(self.caption_batch(batches, decoder=decoder)[0], regions)

    def caption_batch(
        self,
        regions: Sequence[RegionBatch],
        *,
        decoder: Decoder | None = None,
        automaton: Automaton | None = None,
    ) -> list[list[CaptionCandidate]]:
        """Describe a batch of images; see ``CaptionPredictor.caption_batch``.

        Args:
            regions: Regions of the images, one batch for each model.
            decoder: Decoding algorithm; its rules may refer to words by name. Default: beam search with five
                beams.
            automaton: Constraints of each image, for a beam search. Default: none.
        """
        captioners = [p for p in self.predictors if isinstance(p, CaptionPredictor)]
        if not captioners:
            self.first.refuse("captions")
        return caption_ensemble(
            captioners, list(regions), weights=self.weights, decoder=decoder, automaton=automaton
        )

    def answer_batch(
        self, regions: Sequence[RegionBatch], questions: Sequence[str], *, candidates: int = 1
    ) -> list[VQAPrediction]:
        """Answer a batch of questions by the weighted mean of the scores of all models.

        The attention is the weighted mean if all models attend to the same regions, and otherwise that of the
        first model.

        Args:
            regions: Regions of the image of each question, one batch for each model.
            questions: Texts of the questions.
            candidates: Number of answers per question. Default: 1.
        """
        models = [p for p in self.predictors if isinstance(p, VQAPredictor)]
        if not models:
            self.first.refuse("answers questions")
        total, attention = sum(self.weights), []
        scores: Tensor | float = 0.0
        for model, batch, order, weight in zip(models, regions, self._orders, self.weights, strict=True):
            model_scores, weights = model.scores(batch, questions)
            scores = scores + model_scores.cpu()[:, order] * (weight / total)
            attention.append(weights)
        assert isinstance(scores, Tensor)
        if all(torch.equal(batch.boxes, regions[0].boxes) for batch in regions):
            mean = [np.average(w, axis=0, weights=self.weights) for w in zip(*attention, strict=True)]
        else:
            mean = attention[0]
        return models[0].predictions(scores, mean, candidates)

    def read_regions(self, images: Sequence[StoredImages], image_ids: Iterable[ImageId]) -> list[RegionBatch]:
        """Read the regions of a batch of images for each model; models with the same store share them.

        Args:
            images: Images in the store of each model.
            image_ids: Ids of the images.
        """
        ids = list(image_ids)
        read: dict[tuple[Any, ...], RegionBatch] = {}
        batches = []
        for predictor, stored in zip(self.predictors, images, strict=True):
            key = self._key(predictor.region_input, stored, ids)
            if key not in read:
                read[key] = predictor.region_input.load(stored.store, [stored.ids[i] for i in ids])
            batches.append(read[key])
        return batches

    @staticmethod
    def _key(region_input: RegionInput, stored: StoredImages, ids: Sequence[ImageId]) -> tuple[Any, ...]:
        return str(stored.store.path), region_input, tuple(stored.ids[i] for i in ids)


def check_weights(weights: Any, count: int) -> list[float]:
    """Return the weights of ``count`` models, which are equal by default.

    Raises:
        InputError: If the weights are not ``count`` numbers above 0.
    """
    if weights is None:
        return [1.0] * count
    if not isinstance(weights, Sequence) or isinstance(weights, str) or len(weights) != count:
        raise InputError(f"ensemble_weights={weights}: must be a list of {count} numbers, one per model")
    try:
        for weight in weights:
            check_number("a weight", weight, without=0)
    except ValueError as error:
        raise InputError(f"ensemble_weights={weights}: {error}") from None
    return list(weights)


def _answer_order(first: VQAPredictor, other: VQAPredictor) -> Tensor:
    """Return the index in ``other`` of each answer of ``first``."""
    index = {answer: n for n, answer in enumerate(other.answers.answers)}
    missing = [answer for answer in first.answers.answers if answer not in index]
    if missing or len(index) != len(first.answers):
        extra = sorted(index.keys() - set(first.answers.answers))
        difference = f"it lacks {missing[0]!r}" if missing else f"it also has {extra[0]!r}"
        raise InputError(
            f"{other.source}: its {len(index):,} answers are not the {len(first.answers):,} of "
            f"{first.source}: {difference}; an ensemble needs the same answers"
        )
    return torch.tensor([index[answer] for answer in first.answers.answers])
