"""Several models that say every word together."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bua.decode.step import StepFunction


def ensemble(
    steps: Sequence[StepFunction], shares: Sequence[float] | None = None, *, same_regions: bool = True
) -> StepFunction:
    """Return the step function of the mean of several models' probabilities.

    Its state is a tuple with the state of each. Its weights of the regions are the mean of theirs.

    Args:
        steps: step functions over the same vocabulary.
        shares: of each in the mean; equal ones by default.
        same_regions: they look at the same regions; where they do not, weights are those of the first.

    Raises:
        ValueError: the shares are not above 0, or not as many as the models.
    """
    shares = [1.0] * len(steps) if shares is None else list(shares)
    if not steps or len(shares) != len(steps) or not all(share > 0 for share in shares):
        raise ValueError(f"{len(steps)} models need as many shares above 0, not {shares}")
    parts = [share / sum(shares) for share in shares]

    def step(words: Tensor, states: Any) -> tuple[Tensor, Tensor, Any]:
        said = [one(words, state) for one, state in zip(steps, states, strict=True)]
        each = [
            log_probs.float() + math.log(part) for (log_probs, _, _), part in zip(said, parts, strict=True)
        ]
        looks = [weights for _, weights, _ in said]
        weights = looks[0]
        if same_regions:
            weights = torch.stack([look * part for look, part in zip(looks, parts, strict=True)]).sum(0)
        return torch.stack(each).logsumexp(0), weights, tuple(state for _, _, state in said)

    return step
