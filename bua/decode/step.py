"""Step functions, their states, and the sequences that searches return.

A step function reads one word of each of N sequences per image and a state. It returns the
log-probabilities (B, N, V) of the next words, the attention over the regions (B, N, K), and the next state:
a tensor (B, N, ...), or a tuple, named or not, of such states. This package imports no model.

Shapes: B images, N sequences per image, M earlier sequences per image, V words, K regions, T steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bua.text import vocabulary

StepFunction = Callable[[Tensor, Any], tuple[Tensor, Tensor, Any]]

#: Error message for a model whose log-probabilities are invalid, see ``has_invalid``.
INVALID_LOG_PROBS = "the model's log-probabilities are NaN or infinite: its weights are broken"


class SpecialTokens(NamedTuple):
    """Indices of the special tokens of a vocabulary; negative for a token that it lacks."""

    padding: int = vocabulary.PADDING
    bos: int = vocabulary.BOS
    eos: int = vocabulary.EOS
    unknown: int = vocabulary.UNKNOWN


class Hypotheses(NamedTuple):
    """Generated sequences of each image, best first (samples: in the order of their draws).

    A sequence ends with the end token, or without it at the length limit; the rest is padding, with
    log-probabilities and attention of 0. If an image has fewer sequences than requested, the last ones are
    empty, with a log-probability of minus infinity.

    Attributes:
        words: Sequences without the beginning token.
        log_prob: Sum of the log-probabilities of the words under the model.
        score: Score that the sequences are sorted by: ``log_prob``, divided by the length penalty if there
            is one.
        word_log_prob: Log-probability of each word under the model.
        weights: Attention over the regions when each word was generated.
    """

    words: Int[Tensor, "B N T"]
    log_prob: Float[Tensor, "B N"]
    score: Float[Tensor, "B N"]
    word_log_prob: Float[Tensor, "B N T"]
    weights: Float[Tensor, "B N T K"]


def has_invalid(log_probs: Tensor) -> Bool[Tensor, ""]:
    """Return whether any value is NaN or plus infinity; minus infinity is valid for impossible words."""
    return (log_probs.isnan() | log_probs.isposinf()).any()


def pick(tensor: Tensor, index: Int[Tensor, "B N"]) -> Tensor:
    """Return ``tensor[b, index[b, n]]`` for a tensor (B, M, ...)."""
    expanded = index.view(*index.shape, *[1] * (tensor.dim() - 2)).expand(-1, -1, *tensor.shape[2:])
    return tensor.gather(1, expanded)


def reorder(state: Any, index: Int[Tensor, "B N"]) -> Any:
    """Return the state of the sequences ``index`` of each image."""
    if isinstance(state, Tensor):
        return pick(state, index)
    parts = [reorder(part, index) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def repeat(state: Any, images: int, count: int, device: torch.device | str) -> Any:
    """Return the state of one sequence per image, repeated for ``count`` sequences."""
    return reorder(state, torch.zeros(images, count, dtype=torch.long, device=device))
