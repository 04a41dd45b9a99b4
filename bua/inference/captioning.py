"""Captioning images with a trained captioner or an ensemble.

Shapes: B images, N sequences per image, T words, V vocabulary, K regions.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bua.decode import Automaton, BeamSearch, Decoder, Hypotheses, StepFunction, ensemble, resolve_rule_words
from bua.inference.predictor import CaptionCandidate, CaptionOutput, Image, Predictor, merge_subword_attention
from bua.models.captioners.base import Captioner
from bua.structures.region_batch import RegionBatch
from bua.structures.regions import Regions


def make_step_function(model: Captioner[Any, Any], regions: RegionBatch) -> tuple[StepFunction, Any]:
    """Encode regions, and return the step function of a captioner over them and its initial state."""
    memory = model.encode(regions)
    model_step = model.make_step(memory)

    def step(words: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        logits, weights, state = model_step(words, state)
        return logits.float().log_softmax(-1), weights, state

    return step, model.init_state(memory, 1)


@torch.no_grad()
def generate(
    models: Sequence[Captioner[Any, Any]],
    regions: Sequence[RegionBatch],
    decoder: Decoder,
    weights: Sequence[float] | None = None,
    **kwargs: Any,
) -> Hypotheses:
    """Caption a batch of images with one captioner or an ensemble.

    Args:
        models: Captioners with the same vocabulary, in eval mode.
        regions: Regions of the images, one batch for each captioner.
        decoder: Decoding algorithm, whose rules refer to words by index.
        weights: Weight of each model in the average of probabilities. Default: equal weights.
        kwargs: Further arguments of the decoding algorithm, such as ``automaton``.
    """
    parts = [make_step_function(model, batch) for model, batch in zip(models, regions, strict=True)]
    step, state = parts[0]
    if len(parts) > 1:
        same_regions = all(torch.equal(batch.boxes, regions[0].boxes) for batch in regions)
        step = ensemble([step for step, _ in parts], weights, same_regions=same_regions)
        state = tuple(state for _, state in parts)
    features = regions[0].features
    return decoder(step, state, images=len(features), device=features.device, **kwargs)


class CaptionPredictor(Predictor):
    """A trained captioner; see ``Predictor`` for arguments and errors."""

    does = "captions"

    def caption(self, image: Image | Regions, *, decoder: Decoder | None = None, **_: Any) -> CaptionOutput:
        """Describe one image.

        Args:
            image: Path, pixels (H, W, 3), Pillow image, or regions.
            decoder: Search, whose rules may name words. Default: beam search with five beams.
        """
        regions = self.detect(image)
        return CaptionOutput(self.caption_batch(self.to_batch(regions), decoder=decoder)[0], regions)

    def caption_batch(
        self, regions: RegionBatch, *, decoder: Decoder | None = None, automaton: Automaton | None = None
    ) -> list[list[CaptionCandidate]]:
        """Describe a batch of images, and return all captions that were found, best first.

        Args:
            regions: Regions of the images.
            decoder: Search, whose rules may name words. Default: beam search with five beams.
            automaton: Constraints of each image, for a beam search. Default: none.
        """
        return caption_ensemble([self], [regions], decoder=decoder, automaton=automaton)

    def candidates(self, hypotheses: Hypotheses, regions: RegionBatch) -> list[list[CaptionCandidate]]:
        """Return generated captions as words, without the padding of regions."""
        num_regions = regions.mask.sum(1).tolist()
        indices, weights = hypotheses.words.tolist(), hypotheses.weights.float().cpu().numpy()
        captions: list[list[CaptionCandidate]] = []
        for b, count in enumerate(num_regions):
            captions.append([])
            for n, log_prob in enumerate(hypotheses.log_prob[b].tolist()):
                if log_prob == -math.inf:
                    continue
                pairs = self.vocabulary.decode_with_lengths(indices[b][n])
                words = [word for word, _ in pairs]
                if self.vocabulary.subword_model and any(words == other.words for other in captions[b]):
                    continue  # the same words in a different subword segmentation
                lengths = [length for _, length in pairs]
                attention = merge_subword_attention(weights[b, n, :, :count], lengths)
                captions[b].append(CaptionCandidate(" ".join(words), words, log_prob, attention))
        return captions


def caption_ensemble(
    predictors: "list[CaptionPredictor]",
    regions: list[RegionBatch],
    *,
    weights: list[float] | None = None,
    decoder: Decoder | None = None,
    automaton: Automaton | None = None,
) -> list[list[CaptionCandidate]]:
    """Describe a batch of images with one captioner or an ensemble of them.

    Args:
        predictors: Captioners with the same vocabulary.
        regions: Regions of the images, one batch for each captioner.
        weights: Weight of each captioner in the average of probabilities. Default: equal weights.
        decoder: Search, whose rules may name words. Default: beam search with five beams.
        automaton: Constraints of each image, for a beam search. Default: none.
    """
    first = predictors[0]
    search = resolve_rule_words(decoder or BeamSearch(), first.vocabulary)
    constraints = {} if automaton is None else {"automaton": automaton.to(first.device)}
    models: list[Any] = [predictor.model for predictor in predictors]
    with first.autocast:
        batches = [batch.to(first.device) for batch in regions]
        hypotheses = generate(models, batches, search, weights, **constraints)
    return first.candidates(hypotheses, regions[0])
