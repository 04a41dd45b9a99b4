"""Beam search, optionally under the constraints of an automaton.

Shapes: B images, N sequences per image, T steps.
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
    """Beam search: at every step, keep the ``beam_size`` best continuations of all sequences of an image.

    A ``beam_size`` of 1 is greedy search. The options are those of ``BeamOptions``.
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
        """Search for the best sequences of a batch of images.

        Args:
            step: Step function.
            state: Initial state for one sequence per image, tensors (B, 1, ...).
            images: B.
            special: Special tokens of the vocabulary. Default: those of ``Vocabulary``.
            automaton: Constraints of each image; sequences that satisfy the most come first.
            device: Device of the tensors.

        Raises:
            ValueError: If a word of the rules or constraints is not in the model's vocabulary.
            InputError: If log-probabilities of the model are NaN or infinite.
        """
        beams = BeamState(self, images, special or SpecialTokens(), automaton, device)
        words = beams.words
        for _ in range(self.max_length):
            log_probs, weights, state = step(words, state)
            parent = beams.advance(log_probs.float(), weights)
            if beams.done:
                break
            words, state = beams.words, reorder(state, parent)
        return beams.best()


def greedy(max_length: int = 20, rules: Rules | None = None) -> BeamSearch:
    """Return the search that takes the most likely word at every step."""
    return BeamSearch(beam_size=1, max_length=max_length, rules=rules or Rules())


def merge_hypotheses(results: list[Hypotheses], beam_size: int, padding: int) -> Hypotheses:
    """Return the best ``beam_size`` distinct sequences from several searches over the same images."""
    longest = max(result.words.shape[2] for result in results)

    def concatenate(name: str, fill: float) -> Tensor:
        parts = [getattr(result, name) for result in results]
        if parts[0].dim() > 2:
            parts = [_pad_steps(part, longest, fill) for part in parts]
        return torch.cat(parts, 1)

    fills = {"words": padding}
    merged = Hypotheses(*(concatenate(name, fills.get(name, 0)) for name in Hypotheses._fields))
    merged = _sort_by_score(merged)
    distinct = _clear(merged, _is_duplicate(merged.words), padding)
    return Hypotheses(*(part[:, :beam_size] for part in _sort_by_score(distinct)))


def _sort_by_score(hypotheses: Hypotheses) -> Hypotheses:
    order = hypotheses.score.sort(dim=1, descending=True, stable=True).indices
    return Hypotheses(*(pick(part, order) for part in hypotheses))


def _is_duplicate(words: Int[Tensor, "B N T"]) -> Bool[Tensor, "B N"]:
    """Return which sequences equal an earlier one of their image."""
    equal = (words.unsqueeze(2) == words.unsqueeze(1)).all(3)
    return equal.tril(-1).any(2)


def _clear(hypotheses: Hypotheses, cleared: Bool[Tensor, "B N"], padding: int) -> Hypotheses:
    """Return the hypotheses with some sequences replaced by empty ones."""
    score, log_prob = (
        part.masked_fill(cleared, -torch.inf) for part in (hypotheses.score, hypotheses.log_prob)
    )
    steps = cleared.unsqueeze(2)
    return Hypotheses(
        hypotheses.words.masked_fill(steps, padding),
        log_prob,
        score,
        hypotheses.word_log_prob.masked_fill(steps, 0),
        hypotheses.weights.masked_fill(steps.unsqueeze(3), 0),
    )


def _pad_steps(tensor: Tensor, length: int, fill: float) -> Tensor:
    shape = (*tensor.shape[:2], length - tensor.shape[2], *tensor.shape[3:])
    return torch.cat([tensor, tensor.new_full(shape, fill)], 2)
