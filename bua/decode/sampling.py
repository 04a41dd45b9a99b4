"""Drawing sequences from a model, each word given those before it.

Shapes: B images, N samples an image, V words, K regions, T steps.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bua.decode.rules import Rules
from bua.decode.step import BROKEN, Hypotheses, SpecialTokens, StepFunction, broken, repeat
from bua.errors import InputError, check_integer, check_kind, check_number


@dataclass(frozen=True)
class Sampling:
    """Draws ``num_samples`` sequences an image.

    Log-probabilities are those of the model, whatever words are drawn by; they carry gradients where
    those are on, as self-critical training needs it.

    Attributes:
        num_samples: samples an image.
        max_length: longest sequence, its end included.
        temperature: log-probabilities are divided by it; below 1 likely words become likelier.
        top_k: only the likeliest so many words are drawn.
        top_p: only the likeliest words that together reach this probability are drawn (Holtzman et al.
            2020, section 3.1).
        rules: what may not be said.
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
        """Draw; arguments and errors as of ``BeamSearch``."""
        special = special or SpecialTokens()
        state = repeat(state, images, self.num_samples, device)
        words = torch.full((images, self.num_samples), special.bos, device=device)
        said = words.new_zeros(images, self.num_samples, 0)
        live = torch.ones_like(words, dtype=torch.bool)
        gained, looked = [], []
        for t in range(self.max_length):
            log_probs, weights, state = step(words, state)
            log_probs = log_probs.float()
            allowed = self.rules.apply(log_probs.detach(), said, special, t + 1 == self.max_length)
            words = self._draw(allowed, generator)
            gained.append(log_probs.gather(2, words.unsqueeze(2)).squeeze(2).masked_fill(~live, 0))
            looked.append(weights * live.unsqueeze(-1))
            said = torch.cat([said, words.unsqueeze(2)], 2)
            live = live & (words != special.eos)
            if not bool(live.any()):
                break
        over = (said == special.eos).cumsum(2) - (said == special.eos).long() > 0
        said = said.masked_fill(over, special.padding)
        word_log_prob = torch.stack(gained, 2)
        log_prob = word_log_prob.sum(2)
        return Hypotheses(said, log_prob, log_prob.detach(), word_log_prob, torch.stack(looked, 2))

    def _draw(self, log_probs: Float[Tensor, "B N V"], generator: torch.Generator | None) -> Tensor:
        if bool(broken(log_probs)):
            raise InputError(BROKEN)
        below = log_probs - log_probs.amax(-1, keepdim=True)  # of which no quotient overflows upwards
        scores = (below / self.temperature).masked_fill(below == 0, 0)
        if self.top_k is not None and self.top_k < scores.shape[-1]:
            best, index = scores.topk(self.top_k, dim=-1)
            scores = torch.full_like(scores, -torch.inf).scatter(-1, index, best)
        if self.top_p is not None:
            scores = _nucleus(scores, self.top_p)
        drawn = torch.multinomial(scores.softmax(-1).flatten(0, 1), 1, generator=generator)
        return drawn.view(scores.shape[:2])


def _nucleus(scores: Float[Tensor, "B N V"], share: float) -> Float[Tensor, "B N V"]:
    """Leave the fewest, likeliest words that together have at least the ``share``."""
    ordered, index = scores.softmax(-1).sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    outside = torch.empty_like(before, dtype=torch.bool).scatter_(-1, index, before >= share)
    return scores.masked_fill(outside, -torch.inf)
