"""Beam search, also under the constraints of an automaton.

Shapes: B images, N sequences kept, M = S N places of a beam (S states of an automaton, 1 without), V
words, K regions, T steps.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from bua.decode.automaton import Automaton
from bua.decode.beam_state import BeamState
from bua.decode.options import BeamOptions
from bua.decode.rules import Rules
from bua.decode.step import Hypotheses, SpecialTokens, StepFunction, pick, reorder


@dataclass(frozen=True)
class BeamSearch(BeamOptions):
    """Keep the ``beam_size`` best continuations of all live sequences at every step; 1 is greedy search.

    The options are those of ``BeamOptions``.
    """

    def __call__(
        self,
        step: StepFunction,
        state: Any,
        *,
        images: int,
        special: SpecialTokens | None = None,
        automaton: Automaton | None = None,
        device: torch.device | str = "cpu",
    ) -> Hypotheses:
        """Search.

        Args:
            step: the step function.
            state: for one sequence an image: tensors (B, 1, ...).
            images: B.
            special: indices of special words; those of ``Vocabulary`` by default.
            automaton: what each caption must say; sequences that say it come first.
            device: of the tensors.

        Raises:
            ValueError: rules or constraints have words that the model does not have.
            InputError: the model gives log-probabilities that are not numbers, or infinite ones.
        """
        group = BeamState(self, images, special or SpecialTokens(), automaton, device)
        words = group.words
        for _ in range(self.max_length):
            log_probs, weights, state = step(words, state)
            parent = group.choose(log_probs.float(), weights)
            if group.done:
                break
            words, state = group.words, reorder(state, parent)
        return group.best()


def greedy(max_length: int = 20, rules: Rules | None = None) -> BeamSearch:
    """Return the search that takes the most likely word at every step."""
    return BeamSearch(beam_size=1, max_length=max_length, rules=rules or Rules())


def merged(found: list[Hypotheses], beam_size: int, padding: int) -> Hypotheses:
    """Return the best ``beam_size`` of what several searches of the same images found, each caption once."""
    longest = max(part.words.shape[2] for part in found)

    def joined(name: str, value: float) -> Tensor:
        parts = [getattr(part, name) for part in found]
        if parts[0].dim() > 2:
            parts = [_lengthened(part, longest, value) for part in parts]
        return torch.cat(parts, 1)

    values = {"words": padding}
    every = Hypotheses(*(joined(name, values.get(name, 0)) for name in Hypotheses._fields))
    every = _ordered(every)
    once = _without(every, _copies(every.words), padding)
    return Hypotheses(*(part[:, :beam_size] for part in _ordered(once)))


def _ordered(found: Hypotheses) -> Hypotheses:
    """Return the same, best first."""
    order = found.score.sort(dim=1, descending=True, stable=True).indices
    return Hypotheses(*(pick(part, order) for part in found))


def _copies(words: Int[Tensor, "B N T"]) -> Bool[Tensor, "B N"]:
    """Say which sequences stand before."""
    same = (words.unsqueeze(2) == words.unsqueeze(1)).all(3)
    return same.tril(-1).any(2)


def _without(found: Hypotheses, left_out: Bool[Tensor, "B N"], padding: int) -> Hypotheses:
    """Return the same with places that are empty."""
    score, log_prob = (part.masked_fill(left_out, -torch.inf) for part in (found.score, found.log_prob))
    each = left_out.unsqueeze(2)
    return Hypotheses(
        found.words.masked_fill(each, padding),
        log_prob,
        score,
        found.word_log_prob.masked_fill(each, 0),
        found.weights.masked_fill(each.unsqueeze(3), 0),
    )


def _lengthened(tensor: Tensor, length: int, value: float) -> Tensor:
    shape = (*tensor.shape[:2], length - tensor.shape[2], *tensor.shape[3:])
    return torch.cat([tensor, tensor.new_full(shape, value)], 2)
