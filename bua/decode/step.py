"""What searches share: the step function, its state, and the sequences that come out.

A step function reads one word of each of N sequences an image and a state, and returns
log-probabilities (B, N, V) of the next word, weights of the regions (B, N, K) and the next state: a
tensor (B, N, ...), or a tuple, named or not, of such states. No model is imported here.

Shapes: B images, N sequences an image, V words, K regions, T steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bua.text import vocabulary

StepFunction = Callable[[Tensor, Any], tuple[Tensor, Tensor, Any]]


class SpecialTokens(NamedTuple):
    """Indices of the words that mean something to a search; below 0 where there is no such word."""

    padding: int = vocabulary.PADDING
    bos: int = vocabulary.BOS
    eos: int = vocabulary.EOS
    unknown: int = vocabulary.UNKNOWN


class Hypotheses(NamedTuple):
    """Sequences of each image, best first (samples: as they were drawn).

    A sequence ends with the end token, or unfinished at the length limit; what follows is padding,
    with log-probabilities and weights of 0. An image that has fewer sequences than were asked for has
    empty ones of log-probability minus infinity at its end.

    Attributes:
        words: the sequences, without their beginning.
        log_prob: sum of the log-probabilities of their words, as the model gave them.
        score: by which they are ordered: ``log_prob``, or that with a length penalty.
        word_log_prob: of each word.
        weights: how much each word looked at each region.
    """

    words: Int[Tensor, "B N T"]
    log_prob: Float[Tensor, "B N"]
    score: Float[Tensor, "B N"]
    word_log_prob: Float[Tensor, "B N T"]
    weights: Float[Tensor, "B N T K"]


#: What is said of a model of which ``broken`` is true.
BROKEN = "the model gives log-probabilities that are not numbers: its weights are broken"


def broken(log_probs: Tensor) -> Bool[Tensor, ""]:
    """Say whether one is not a number, or infinite; minus infinity is what is never said."""
    return (log_probs.isnan() | log_probs.isposinf()).any()


def pick(tensor: Tensor, index: Int[Tensor, "B N"]) -> Tensor:
    """Return ``tensor[b, index[b, n]]`` for a tensor (B, M, ...)."""
    spread = index.view(*index.shape, *[1] * (tensor.dim() - 2)).expand(-1, -1, *tensor.shape[2:])
    return tensor.gather(1, spread)


def reorder(state: Any, index: Int[Tensor, "B N"]) -> Any:
    """Return the state of the sequences ``index`` of each image."""
    if isinstance(state, Tensor):
        return pick(state, index)
    parts = [reorder(part, index) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def repeat(state: Any, images: int, count: int, device: torch.device | str) -> Any:
    """Return the state of one sequence an image as that of ``count``."""
    return reorder(state, torch.zeros(images, count, dtype=torch.long, device=device))
