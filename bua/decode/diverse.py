"""Diverse beam search (Vijayakumar et al. 2018): groups of beams that avoid each other's words."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bua.decode.beam import BeamState, merge_hypotheses
from bua.decode.options import BeamOptions, LengthPenalty, Rules
from bua.decode.step import Hypotheses, SpecialTokens, StepFunction, reorder
from bua.errors import check_integer, check_number


@dataclass(frozen=True)
class DiverseBeamSearch:
    """Diverse beam search with Hamming diversity (Vijayakumar et al. 2018, section 4).

    At every step the groups choose their words one after another, and words that earlier groups chose are
    penalized. Sequences that several groups find are returned once.

    Attributes:
        beam_size: Number of sequences of all groups; a multiple of ``num_groups``.
        num_groups: Number of groups.
        diversity_penalty: Subtracted from the log-probability of a word for every sequence of an earlier
            group that has it at the same step; scores do not include it.
        max_length: Length of the longest sequence, the end token included.
        finished: What happens to a finished sequence, see ``BeamOptions``.
        rules: Words that the search must not generate.
        length_penalty: Penalty by which finished sequences are compared.
        per_sequence: Largest number of continuations of one sequence of a group, see ``BeamOptions``.

    Raises:
        ValueError: If an option has the wrong type or is out of range.
    """

    beam_size: int = 6
    num_groups: int = 3
    diversity_penalty: float = 0.5
    max_length: int = 20
    finished: str = "retire"
    rules: Rules = field(default_factory=Rules)
    length_penalty: LengthPenalty = field(default_factory=LengthPenalty)
    per_sequence: int | None = None

    def __post_init__(self) -> None:
        check_integer("beam_size", self.beam_size, 1)
        check_integer("num_groups", self.num_groups, 1)
        check_number("diversity_penalty", self.diversity_penalty)
        if self.beam_size % self.num_groups:
            raise ValueError(f"beam_size={self.beam_size} must be a multiple of num_groups={self.num_groups}")
        self._group_options()  # checks the other options

    @property
    def num_sequences(self) -> int:
        """Number of sequences that the search returns for each image."""
        return self.beam_size

    def _group_options(self) -> BeamOptions:
        """Return the options of one group."""
        beam_size = self.beam_size // self.num_groups
        options = self.max_length, self.finished, self.rules, self.length_penalty, self.per_sequence
        return BeamOptions(beam_size, *options)

    def __call__(
        self,
        step: StepFunction,
        state: Any,
        *,
        images: int,
        special: SpecialTokens | None = None,
        device: torch.device | str = "cpu",
    ) -> Hypotheses:
        """Search; arguments and errors are those of ``BeamSearch``."""
        special = special or SpecialTokens()
        options = self._group_options()
        groups = [BeamState(options, images, special, None, device) for _ in range(self.num_groups)]
        words = groups[0].words
        for t in range(self.max_length):
            log_probs, weights, state = step(words, state)
            # before the first step all groups share one sequence
            parts = [
                _group_part(log_probs.float(), weights, g if t else 0, self.num_groups if t else 1)
                for g in range(self.num_groups)
            ]
            counts = torch.zeros(images, log_probs.shape[-1], device=log_probs.device)
            parents = []
            for g, (group, (group_log_probs, group_weights)) in enumerate(zip(groups, parts, strict=True)):
                parent = group.advance(group_log_probs, group_weights, self.diversity_penalty * counts)
                parents.append(parent + (g * options.beam_size if t else 0))
                counts.scatter_add_(1, group.words, group.extended.to(counts))
            if all(group.done for group in groups):
                break
            words = torch.cat([group.words for group in groups], 1)
            state = reorder(state, torch.cat(parents, 1))
        return merge_hypotheses([group.best() for group in groups], self.beam_size, special.padding)


def _group_part(log_probs: Tensor, weights: Tensor, group: int, num_groups: int) -> tuple[Tensor, Tensor]:
    """Return the part of each tensor that belongs to one group."""
    return log_probs.chunk(num_groups, 1)[group], weights.chunk(num_groups, 1)[group]
