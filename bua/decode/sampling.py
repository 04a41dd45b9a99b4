"""Sampling of sequences from a model, word by word.

Shapes: B images, N samples per image, V words.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bua.decode.options import Rules
from bua.decode.step import INVALID_LOG_PROBS, Hypotheses, SpecialTokens, StepFunction, has_invalid, repeat
from bua.errors import InputError, check_integer, check_kind, check_number


@dataclass(frozen=True)
class Sampling:
    """Multinomial sampling, with temperature, top-k and nucleus (top-p) sampling.

    The returned log-probabilities are those of the model, whatever distribution words are drawn from. They
    carry gradients if those are enabled, as self-critical training needs.

    Attributes:
        num_samples: Number of samples per image.
        max_length: Length of the longest sequence, the end token included.
        temperature: Divisor of log-probabilities; values below 1 favor likely words.
        top_k: Number of most likely words that are drawn from; None for all.
        top_p: Only the most likely words whose probabilities sum to at least this are drawn from (Holtzman
            et al. 2020, section 3.1); None for all.
        rules: Words that must not be generated.

    Raises:
        ValueError: If an option has the wrong type or is out of range.
    """

    num_samples: int = 5
    max_length: int = 20
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        check_integer("num_samples", self.num_samples, 1)
        check_integer("max_length", self.max_length, 1)
        check_kind("rules", self.rules, Rules)
        check_number("temperature", self.temperature, without=0)
        if self.top_k is not None:
            check_integer("top_k", self.top_k, 1)
        if self.top_p is not None:
            check_number("top_p", self.top_p, most=1, without=0)

    @property
    def num_sequences(self) -> int:
        """Number of sequences that are drawn for each image."""
        return self.num_samples

    def __call__(
        self,
        step: StepFunction,
        state: Any,
        *,
        images: int,
        special: SpecialTokens | None = None,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> Hypotheses:
        """Draw samples; errors are those of ``BeamSearch``.

        Args:
            step: Step function.
            state: Initial state for one sequence per image, tensors (B, 1, ...).
            images: B.
            special: Special tokens of the vocabulary. Default: those of ``Vocabulary``.
            device: Device of the tensors.
            generator: Random number generator. Default: that of torch.
        """
        special = special or SpecialTokens()
        state = repeat(state, images, self.num_samples, device)
        words = torch.full((images, self.num_samples), special.bos, device=device)
        history = words.new_zeros(images, self.num_samples, 0)
        live = torch.ones_like(words, dtype=torch.bool)
        word_log_probs, attentions = [], []
        for t in range(self.max_length):
            log_probs, weights, state = step(words, state)
            log_probs = log_probs.float()
            last = t + 1 == self.max_length
            allowed = self.rules.apply(log_probs.detach(), history, special, last)
            words = self._draw(allowed, generator)
            word_log_probs.append(log_probs.gather(2, words.unsqueeze(2)).squeeze(2).masked_fill(~live, 0))
            attentions.append(weights * live.unsqueeze(-1))
            history = torch.cat([history, words.unsqueeze(2)], 2)
            live = live & (words != special.eos)
            if not bool(live.any()):
                break
        after_end = (history == special.eos).cumsum(2) - (history == special.eos).long() > 0
        history = history.masked_fill(after_end, special.padding)
        word_log_prob = torch.stack(word_log_probs, 2)
        log_prob = word_log_prob.sum(2)
        return Hypotheses(history, log_prob, log_prob.detach(), word_log_prob, torch.stack(attentions, 2))

    def _draw(self, log_probs: Float[Tensor, "B N V"], generator: torch.Generator | None) -> Tensor:
        if bool(has_invalid(log_probs)):
            raise InputError(INVALID_LOG_PROBS)
        # relative to the maximum, no quotient overflows to plus infinity
        relative = log_probs - log_probs.amax(-1, keepdim=True)
        scores = (relative / self.temperature).masked_fill(relative == 0, 0)
        if self.top_k is not None and self.top_k < scores.shape[-1]:
            best, index = scores.topk(self.top_k, dim=-1)
            scores = torch.full_like(scores, -torch.inf).scatter(-1, index, best)
        if self.top_p is not None:
            scores = _keep_nucleus(scores, self.top_p)
        drawn = torch.multinomial(scores.softmax(-1).flatten(0, 1), 1, generator=generator)
        return drawn.view(scores.shape[:2])


def _keep_nucleus(scores: Float[Tensor, "B N V"], top_p: float) -> Float[Tensor, "B N V"]:
    """Return the scores of the fewest most likely words whose probabilities sum to at least ``top_p``."""
    probs, index = scores.softmax(-1).sort(-1, descending=True)
    more_likely = probs.cumsum(-1) - probs
    outside = torch.empty_like(more_likely, dtype=torch.bool).scatter_(-1, index, more_likely >= top_p)
    return scores.masked_fill(outside, -torch.inf)
