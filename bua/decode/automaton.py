"""Automata for constrained beam search (Anderson et al. 2017, "Guided Open Vocabulary Image Captioning").

A constraint is satisfied by generating any one of its phrases. The state of an automaton records which
constraints are satisfied and how much of a phrase the last words match. Only words of phrases have
transitions of their own; all other words share the default transition of a state.

Shapes: B images, S states, W words of phrases, M slots of a beam, C candidate words per slot, V words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bua.errors import check_integer

Phrase = tuple[int, ...]
#: Alternative phrases of one constraint.
Constraint = Sequence[Phrase]
_NO_STATE = -1
#: For each constraint, the prefix of a phrase that the last words match, or None if it is satisfied.
_State = tuple[Phrase | None, ...]


class Automaton(NamedTuple):
    """One automaton per image; state 0 is the initial state.

    Attributes:
        words: Words of phrases; padded with 0.
        transitions: Next state for each of these words in each state; negative on padding.
        default: Next state for all other words in each state.
        num_satisfied: Number of constraints that are satisfied in each state, at most the required number;
            negative on padding.
    """

    words: Int[Tensor, "B W"]
    transitions: Int[Tensor, "B S W"]
    default: Int[Tensor, "B S"]
    num_satisfied: Int[Tensor, "B S"]

    @property
    def num_states(self) -> int:
        """Number of states, S."""
        return self.default.shape[1]

    def check(self, images: int, vocabulary_size: int) -> None:
        """Raise ``ValueError`` unless the automata are for this number of images and vocabulary size."""
        if len(self.words) != images:
            raise ValueError(f"constraints must be for {images} images, got {len(self.words)}")
        if int(self.words.max()) >= vocabulary_size:
            raise ValueError(
                f"words of constraints must be below the vocabulary size {vocabulary_size}, "
                f"got {int(self.words.max())}"
            )

    def to(self, device: torch.device | str) -> "Automaton":
        """Return a copy on a device."""
        return Automaton(*(part.to(device) for part in self))

    def num_satisfied_by_slot(self, beam_size: int) -> Int[Tensor, "B M"]:
        """Return ``num_satisfied`` of every slot of a beam with ``beam_size`` slots per state."""
        return self.num_satisfied.repeat_interleave(beam_size, 1)

    def candidates(
        self, scores: Float[Tensor, "B M V"], states: Int[Tensor, "B M"], beam_size: int
    ) -> tuple[Int[Tensor, "B M C"], Int[Tensor, "B M C"]]:
        """Return the words that the best continuations can have, and the states they lead to.

        These are all words of phrases and, for every slot, the best ``beam_size`` of the other words.

        Args:
            scores: Scores of all continuations.
            states: State of the automaton in each slot.
            beam_size: Number of continuations that are kept in each state.
        """
        b, m, v = scores.shape
        expanded = states.unsqueeze(-1).expand(-1, -1, self.words.shape[1])
        transitions = self.transitions.gather(1, expanded)
        words = self.words.unsqueeze(1).expand(-1, m, -1)
        # column v takes the padding of the words
        is_phrase_word = torch.zeros(b, v + 1, dtype=torch.bool, device=scores.device)
        real = self.transitions[:, 0] != _NO_STATE
        is_phrase_word.scatter_(1, self.words.masked_fill(~real, v), True)
        other_scores = scores.masked_fill(is_phrase_word[:, None, :v], -torch.inf)
        others = other_scores.topk(min(beam_size, v), dim=2).indices
        default = self.default.gather(1, states).unsqueeze(-1).expand_as(others)
        # topk returns phrase words where there are fewer other words
        duplicate = is_phrase_word[:, None, :v].expand_as(scores).gather(2, others)
        next_states = torch.cat([transitions, default.masked_fill(duplicate, _NO_STATE)], 2)
        return torch.cat([words, others], 2), next_states


def build_automaton(constraints: Sequence[Sequence[Constraint]], required: int | None = None) -> Automaton:
    """Build the automata of a batch.

    Args:
        constraints: Constraints of each image, with words as indices.
        required: Number of constraints, at least 1, that are enough, whichever they are. Default: all.

    Raises:
        ValueError: If there are no images, a constraint has no phrases, a phrase has no words or a word that
            is not an index, or ``required`` is not an integer of at least 1.
    """
    check_integer("number of images with constraints", len(constraints), 1)
    if required is not None:
        check_integer("required", required, 1)
    automata = [_reachable_states(image) for image in constraints]
    images = len(automata)
    num_states = max(len(rows) for rows, _ in automata)
    num_words = max(max((len(words) for _, words in automata), default=0), 1)
    words = torch.zeros(images, num_words, dtype=torch.long)
    transitions = torch.full((images, num_states, num_words), _NO_STATE)
    default = torch.zeros(images, num_states, dtype=torch.long)
    num_satisfied = torch.full((images, num_states), -1)
    for n, (rows, phrase_words) in enumerate(automata):
        enough = len(constraints[n]) if required is None else min(required, len(constraints[n]))
        words[n, : len(phrase_words)] = torch.tensor(phrase_words, dtype=torch.long)
        for state, row in rows.items():
            num_satisfied[n, row.number] = min(sum(part is None for part in state), enough)
            default[n, row.number] = rows[row.default].number
            for w, next_state in enumerate(row.transitions):
                transitions[n, row.number, w] = rows[next_state].number
    return Automaton(words, transitions, default, num_satisfied)


class _Row(NamedTuple):
    """Number of a state, and its transitions."""

    number: int
    transitions: list[_State]
    default: _State


def _reachable_states(constraints: Sequence[Constraint]) -> tuple[dict[_State, _Row], list[int]]:
    """Return the reachable states in breadth-first order, and the words of all phrases."""
    for constraint in constraints:
        if not constraint or not all(constraint):
            raise ValueError("a constraint must have at least one phrase, and a phrase at least one word")
        for word in (word for phrase in constraint for word in phrase):
            check_integer("a word of a constraint", word)
    words = sorted({word for constraint in constraints for phrase in constraint for word in phrase})
    rows: dict[_State, _Row] = {}
    queue: list[_State] = [tuple(() for _ in constraints)]
    while queue:
        state = queue.pop(0)
        if state in rows:
            continue
        transitions = [_next_state(state, word, constraints) for word in words]
        default: _State = tuple(None if prefix is None else () for prefix in state)
        rows[state] = _Row(len(rows), transitions, default)
        queue += [*transitions, default]
    return rows, words


def _next_state(state: _State, word: int, constraints: Sequence[Constraint]) -> _State:
    return tuple(
        None if prefix is None else _matched_prefix((*prefix, word), phrases)
        for prefix, phrases in zip(state, constraints, strict=True)
    )


def _matched_prefix(words: Phrase, phrases: Constraint) -> Phrase | None:
    """Return the longest suffix of ``words`` that is a prefix of a phrase, None if a phrase is complete."""
    suffixes = [words[n:] for n in range(len(words) + 1)]
    if any(suffix == tuple(phrase) for suffix in suffixes for phrase in phrases):
        return None
    return next(
        suffix for suffix in suffixes if any(tuple(phrase[: len(suffix)]) == suffix for phrase in phrases)
    )
