"""Diverse beam search (Vijayakumar et al. 2018): groups of beams that avoid each other's words."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bua.decode.beam import BeamSearch, merged
from bua.decode.beam_state import BeamState
from bua.decode.length import LengthPenalty
from bua.decode.rules import Rules
from bua.decode.step import Hypotheses, SpecialTokens, StepFunction, reorder
from bua.errors import check_number, check_whole


@dataclass(frozen=True)
class DiverseBeamSearch:
    """Groups take their words one after the other; what an earlier group took counts less (section 4).

    Attributes:
        width: sequences of all groups, as many of each; what several find comes once.
        groups: number of groups; it divides ``width``.
        strength: taken off the log-probability of a word for every sequence of an earlier group that
            says it at the same step (Hamming diversity); scores are without it.
        max_words: as of ``BeamSearch``.
        finished: as of ``BeamSearch``.
        rules: as of ``BeamSearch``.
        length: as of ``BeamSearch``.
    """

    width: int = 6
    groups: int = 3
    strength: float = 0.5
    max_words: int = 20
    finished: str = "leaves"
    rules: Rules = field(default_factory=Rules)
    length: LengthPenalty = field(default_factory=LengthPenalty)

    def __post_init__(self) -> None:
        check_whole("width", self.width, 1)
        check_whole("groups", self.groups, 1)
        check_number("strength", self.strength)
        if self.width % self.groups:
            raise ValueError(f"width={self.width} must be as many beams for each of groups={self.groups}")
        self._each()  # checks the others

    def _each(self) -> BeamSearch:
        """Return the options of one group."""
        width = self.width // self.groups
        return BeamSearch(width, self.max_words, self.finished, self.rules, self.length)

    def __call__(
        self,
        step: StepFunction,
        state: Any,
        *,
        images: int,
        special: SpecialTokens | None = None,
        device: torch.device | str = "cpu",
    ) -> Hypotheses:
        """Search; arguments and errors as of ``BeamSearch``."""
        special = special or SpecialTokens()
        each = self._each()
        groups = [BeamState(each, images, special, None, device) for _ in range(self.groups)]
        words = groups[0].words
        for t in range(self.max_words):
            log_probs, weights, state = step(words, state)
            parts = [
                _of(log_probs.float(), weights, g if t else 0, self.groups if t else 1)
                for g in range(self.groups)
            ]
            taken = torch.zeros(images, log_probs.shape[-1], device=log_probs.device)
            parents = []
            for g, (group, (scores, looked)) in enumerate(zip(groups, parts, strict=True)):
                parent = group.choose(scores, looked, self.strength * taken)
                parents.append(parent + (g * each.width if t else 0))
                taken.scatter_add_(1, group.words, group.spoke.to(taken))
            if all(group.done for group in groups):
                break
            words = torch.cat([group.words for group in groups], 1)
            state = reorder(state, torch.cat(parents, 1))
        return merged([group.best() for group in groups], self.width, special.padding)


def _of(log_probs: Tensor, weights: Tensor, group: int, groups: int) -> tuple[Tensor, Tensor]:
    """Return what belongs to one of the groups."""
    return log_probs.chunk(groups, 1)[group], weights.chunk(groups, 1)[group]
