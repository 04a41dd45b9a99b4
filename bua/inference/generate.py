"""Generating captions: captioners, the regions of a batch, and a search.

Shapes: B images, N sequences an image, V words, K regions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bua.decode import Decoder, Hypotheses, StepFunction, ensemble
from bua.models.captioners.base import Captioner
from bua.structures.region_batch import RegionBatch


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
        models: Captioners of one vocabulary, in eval mode.
        regions: Regions of the images, one batch for each captioner.
        decoder: Search whose rules are in word indices.
        weights: Weight of each model in the mean of their probabilities. Default: equal.
        kwargs: Further arguments of the search, such as ``automaton``.
    """
    parts = [make_step_function(model, batch) for model, batch in zip(models, regions, strict=True)]
    step, state = parts[0]
    if len(parts) > 1:
        same_regions = all(torch.equal(batch.boxes, regions[0].boxes) for batch in regions)
        step = ensemble([step for step, _ in parts], weights, same_regions=same_regions)
        state = tuple(state for _, state in parts)
    features = regions[0].features
    return decoder(step, state, images=len(features), device=features.device, **kwargs)
