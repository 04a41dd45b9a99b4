"""Diverse beam search (Vijayakumar et al. 2018): groups of beams that avoid each other's words."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bua.decode.beam import merged
from bua.decode.beam_state import BeamState
from bua.decode.options import BeamOptions, LengthPenalty
from bua.decode.rules import Rules
from bua.decode.step import Hypotheses, SpecialTokens, StepFunction, reorder
from bua.errors import check_integer, check_number


@dataclass(frozen=True)
class DiverseBeamSearch:
    """Groups take their words one after the other; what an earlier group took counts less (section 4).

    Attributes:
        beam_size: sequences of all groups, as many of each; what several find comes once.
        groups: number of groups; it divides ``beam_size``.
        diversity_penalty: taken off the log-probability of a word for every sequence of an earlier group that
            says it at the same step (Hamming diversity); scores are without it.
        max_length: as of ``BeamSearch``.
        finished: as of ``BeamSearch``.
        rules: as of ``BeamSearch``.
        length_penalty: as of ``BeamSearch``.
    """

    beam_size: int = 6
    num_groups: int = 3
    diversity_penalty: float = 0.5
    max_length: int = 20
    finished: str = "retire"
    rules: Rules = field(default_factory=Rules)
    length_penalty: LengthPenalty = field(default_factory=LengthPenalty)

    def __post_init__(self) -> None:
        check_integer("beam_size", self.beam_size, 1)
        check_integer("num_groups", self.num_groups, 1)
        check_number("diversity_penalty", self.diversity_penalty)
        if self.beam_size % self.num_groups:
            raise ValueError(
                f"width={self.beam_size} must be as many beams for each of num_groups={self.num_groups}"
            )
        self._each()  # checks the others

    @property
    def num_sequences(self) -> int:
        """Number of sequences that the search returns for each image."""
        return self.beam_size

    def _each(self) -> BeamOptions:
        """Return the options of one group."""
        beam_size = self.beam_size // self.num_groups
        return BeamOptions(beam_size, self.max_length, self.finished, self.rules, self.length_penalty)

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
        groups = [BeamState(each, images, special, None, device) for _ in range(self.num_groups)]
        words = groups[0].words
        for t in range(self.max_length):
            log_probs, weights, state = step(words, state)
            parts = [
                _of(log_probs.float(), weights, g if t else 0, self.num_groups if t else 1)
                for g in range(self.num_groups)
            ]
            taken = torch.zeros(images, log_probs.shape[-1], device=log_probs.device)
            parents = []
            for g, (group, (scores, looked)) in enumerate(zip(groups, parts, strict=True)):
                parent = group.choose(scores, looked, self.diversity_penalty * taken)
                parents.append(parent + (g * each.beam_size if t else 0))
                taken.scatter_add_(1, group.words, group.spoke.to(taken))
            if all(group.done for group in groups):
                break
            words = torch.cat([group.words for group in groups], 1)
            state = reorder(state, torch.cat(parents, 1))
        return merged([group.best() for group in groups], self.beam_size, special.padding)


def _of(log_probs: Tensor, weights: Tensor, group: int, num_groups: int) -> tuple[Tensor, Tensor]:
    """Return what belongs to one of the groups."""
    return log_probs.chunk(num_groups, 1)[group], weights.chunk(num_groups, 1)[group]
