"""Ensembles of captioners as one step function."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bua.decode.step import StepFunction


def ensemble(
    steps: Sequence[StepFunction],
    model_weights: Sequence[float] | None = None,
    *,
    same_regions: bool = True,
) -> StepFunction:
    """Return the step function of the weighted mean of several models' probabilities.

    Its state is the tuple of the models' states; its attention is the weighted mean of theirs.

    Args:
        steps: Step functions over the same vocabulary.
        model_weights: Weight of each model, above 0. Default: equal.
        same_regions: Whether the models attend to the same regions; if not, the attention is that of the
            first model.

    Raises:
        ValueError: If there are no models, or not one weight above 0 for each.
    """
    model_weights = [1.0] * len(steps) if model_weights is None else list(model_weights)
    if not steps or len(model_weights) != len(steps) or not all(weight > 0 for weight in model_weights):
        raise ValueError(
            f"an ensemble of {len(steps)} models needs a weight above 0 for each, got {model_weights}"
        )
    fractions = [weight / sum(model_weights) for weight in model_weights]

    def step(words: Tensor, states: Any) -> tuple[Tensor, Tensor, Any]:
        results = [model_step(words, state) for model_step, state in zip(steps, states, strict=True)]
        weighted = [
            log_probs.float() + math.log(fraction)
            for (log_probs, _, _), fraction in zip(results, fractions, strict=True)
        ]
        attentions = [attention for _, attention, _ in results]
        attention = attentions[0]
        if same_regions:
            terms = [one * fraction for one, fraction in zip(attentions, fractions, strict=True)]
            attention = torch.stack(terms).sum(0)
        return torch.stack(weighted).logsumexp(0), attention, tuple(state for _, _, state in results)

    return step
