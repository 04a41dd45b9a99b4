"""Searches for the best sequence of words under a step function; no model is imported.

A step function reads one word of each of N sequences an image and a state, and returns
log-probabilities (B, N, V) of the next word, weights of the regions (B, N, K) and the next state, a
named tuple of tensors (B, N, ...).

Shapes: B images, N sequences, V words, K regions, T steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

StepFunction = Callable[[Tensor, Any], tuple[Tensor, Tensor, Any]]


class Hypotheses(NamedTuple):
    """Sequences of each image, best first.

    A sequence ends with the end token, or unfinished at the length limit; what follows is
    ``padding``. An image that has fewer sequences than were asked for has empty ones of
    log-probability minus infinity at its end.
    """

    words: Int[Tensor, "B N T"]
    log_prob: Float[Tensor, "B N"]
    weights: Float[Tensor, "B N T K"]


def greedy(
    step: StepFunction,
    state: Any,
    *,
    images: int,
    bos: int,
    eos: int,
    padding: int,
    max_words: int,
    banned: tuple[int, ...] = (),
    device: torch.device | str = "cpu",
) -> Hypotheses:
    """Take the most likely word at every step. Arguments as of ``beam``."""
    return beam(
        step,
        state,
        images=images,
        bos=bos,
        eos=eos,
        padding=padding,
        width=1,
        max_words=max_words,
        banned=banned,
        device=device,
    )


def beam(
    step: StepFunction,
    state: Any,
    *,
    images: int,
    bos: int,
    eos: int,
    padding: int,
    width: int,
    max_words: int,
    banned: tuple[int, ...] = (),
    device: torch.device | str = "cpu",
) -> Hypotheses:
    """Beam search that collects finished sequences.

    Every step takes the ``width`` best continuations over all live sequences. One that ends is
    collected and gives up its place from the next step on; unfinished ones are collected at the
    length limit. No length normalisation. The search of an image is over when nothing live can
    still be better than the worst of ``width`` collected ones: probabilities only shrink.

    Args:
        step: the step function.
        state: for one sequence an image: tensors (B, 1, ...).
        images: B.
        bos: the word that begins a sequence.
        eos: the word that ends one.
        padding: what follows the end.
        width: sequences kept and returned.
        max_words: longest sequence, the end token included.
        banned: words never to be said.
        device: of the tensors.
    """
    trace: list[tuple[Tensor, Tensor, Tensor]] = []
    words = torch.full((images, 1), bos, device=device)
    scores = torch.zeros(images, 1, device=device)
    collected = _Collected.none(images, width, device)
    for t in range(max_words):
        log_probs, weights, state = step(words, state)
        log_probs = log_probs.float()
        if banned:
            log_probs[..., list(banned)] = -torch.inf
        scores, parent, words = _continue(scores, log_probs, width)
        weights = _select(weights, parent)
        state = type(state)(*(_select(tensor, parent) for tensor in state))
        trace.append((words, parent, weights))
        over = words.eq(eos) if t + 1 < max_words else torch.ones_like(words, dtype=torch.bool)
        collected = collected.add(t, scores.masked_fill(~over, -torch.inf))
        scores = scores.masked_fill(over, -torch.inf)
        if bool((scores.amax(1) <= collected.scores[:, -1]).all()):
            break
    return _backtrack(collected, trace, padding)


def _continue(scores: Tensor, log_probs: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, parents and words (B, width) of the best continuations."""
    size = log_probs.shape[-1]
    total = (scores.unsqueeze(-1) + log_probs).flatten(1)
    if total.shape[1] < width:
        total = torch.nn.functional.pad(total, (0, width - total.shape[1]), value=-torch.inf)
    best, index = total.topk(width, dim=1)
    index = index.clamp(max=scores.shape[1] * size - 1)
    return best, index // size, index % size


def _select(tensor: Tensor, index: Int[Tensor, "B N"]) -> Tensor:
    """Return ``tensor[b, index[b, n]]`` for a tensor (B, M, ...)."""
    spread = index.view(*index.shape, *[1] * (tensor.dim() - 2)).expand(-1, -1, *tensor.shape[2:])
    return tensor.gather(1, spread)


class _Collected(NamedTuple):
    """The best finished sequences so far, best first: score, last step and place in the beam."""

    scores: Tensor
    steps: Tensor
    places: Tensor

    @classmethod
    def none(cls, images: int, width: int, device: torch.device | str) -> "_Collected":
        empty = torch.full((images, width), -torch.inf, device=device)
        zeros = torch.zeros(images, width, dtype=torch.long, device=device)
        return cls(empty, zeros, zeros)

    def add(self, step: int, scores: Tensor) -> "_Collected":
        places = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
        every = torch.cat([self.scores, scores], 1)
        best, index = every.topk(self.scores.shape[1], dim=1)
        steps = torch.cat([self.steps, torch.full_like(places, step)], 1).gather(1, index)
        return _Collected(best, steps, torch.cat([self.places, places], 1).gather(1, index))


def _backtrack(found: _Collected, trace: list[tuple[Tensor, Tensor, Tensor]], padding: int) -> Hypotheses:
    words, weights = [], []
    place = found.places
    for t in range(len(trace) - 1, -1, -1):
        said, parent, looked = trace[t]
        there = (found.steps >= t) & found.scores.isfinite()
        words.append(said.gather(1, place).masked_fill(~there, padding))
        weights.append(_select(looked, place) * there.unsqueeze(-1))
        place = torch.where(there, parent.gather(1, place), place)
    return Hypotheses(torch.stack(words[::-1], 2), found.scores, torch.stack(weights[::-1], 2))
