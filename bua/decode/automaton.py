"""Automata for constrained beam search (Anderson et al. 2017, "Guided Open Vocabulary Image Captioning").

A constraint is met by saying any one of its phrases. The state of an automaton is what was met so far
and how far into a phrase the last words are. Only the words of the phrases lead anywhere of their own;
all others lead from a state to the same one, its ``rest``.

Shapes: B images, S states, W words of phrases, M places of a beam, N kept in each state, V words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bua.errors import check_integer

Phrase = tuple[int, ...]
#: The phrases of one constraint.
Constraint = Sequence[Phrase]
_NOWHERE = -1
_State = tuple[Phrase | None, ...]


class Automaton(NamedTuple):
    """One automaton an image; state 0 is the first.

    Attributes:
        words: words of phrases; 0 where ``moves`` leads nowhere.
        moves: where each of them leads from each state; below 0: no such word.
        rest: where every other word leads.
        met: how many constraints are met in a state, not more than are required; below 0: no such state.
    """

    words: Int[Tensor, "B W"]
    moves: Int[Tensor, "B S W"]
    rest: Int[Tensor, "B S"]
    met: Int[Tensor, "B S"]

    @property
    def states(self) -> int:
        """S."""
        return self.rest.shape[1]

    def check(self, images: int, size: int) -> None:
        """Raise ``ValueError`` unless these are automata of so many images over so many words."""
        if len(self.words) != images:
            raise ValueError(f"there are automata of {len(self.words)} images; {images} are needed")
        if int(self.words.max()) >= size:
            raise ValueError(f"a constraint has the word {int(self.words.max())}, of {size} words")

    def to(self, device: torch.device | str) -> "Automaton":
        """Return a copy on a device."""
        return Automaton(*(part.to(device) for part in self))

    def fulfilled(self, beam_size: int) -> Int[Tensor, "B M"]:
        """Return ``met`` of every place of a beam with ``beam_size`` places a state."""
        return self.met.repeat_interleave(beam_size, 1)

    def candidates(
        self, scores: Float[Tensor, "B M V"], nodes: Int[Tensor, "B M"], beam_size: int
    ) -> tuple[Int[Tensor, "B M C"], Int[Tensor, "B M C"]]:
        """Return the only words that the best continuations can have, and where they lead.

        Those are the words of phrases, and of all others the best ``beam_size`` of each place.
        """
        b, m, v = scores.shape
        places = nodes.unsqueeze(-1).expand(-1, -1, self.words.shape[1])
        moves = self.moves.gather(1, places)
        words = self.words.unsqueeze(1).expand(-1, m, -1)
        # a word that leads nowhere stands for nothing: only real ones are taken from the others
        special = torch.zeros(b, v + 1, dtype=torch.bool, device=scores.device)
        real = self.moves[:, 0] != _NOWHERE
        special.scatter_(1, self.words.masked_fill(~real, v), True)
        others = scores.masked_fill(special[:, None, :v], -torch.inf)
        best = others.topk(min(beam_size, v), dim=2).indices
        rest = self.rest.gather(1, nodes).unsqueeze(-1).expand_as(best)
        taken = special[:, None, :v].expand_as(scores).gather(2, best)
        return torch.cat([words, best], 2), torch.cat([moves, rest.masked_fill(taken, _NOWHERE)], 2)


def automaton(constraints: Sequence[Sequence[Constraint]], required: int | None = None) -> Automaton:
    """Build the automata of a batch.

    Args:
        constraints: of each image; each is a choice of phrases, words as indices.
        required: so many constraints are enough, any of them, at least 1; all by default.

    Raises:
        ValueError: there are no images, a constraint has no phrases, a phrase no words or one that is no
            index, or ``required`` is not such a number.
    """
    check_integer("images with constraints", len(constraints), 1)
    if required is not None:
        check_integer("required", required, 1)
    built = [_states(image) for image in constraints]
    states = max(len(found) for found, _ in built)
    columns = max(max((len(words) for _, words in built), default=0), 1)
    count = len(built)
    words = torch.zeros(count, columns, dtype=torch.long)
    moves = torch.full((count, states, columns), _NOWHERE)
    rest = torch.zeros(count, states, dtype=torch.long)
    met = torch.full((count, states), -1)
    for n, (found, special) in enumerate(built):
        enough = len(constraints[n]) if required is None else min(required, len(constraints[n]))
        words[n, : len(special)] = torch.tensor(special, dtype=torch.long)
        for state, row in found.items():
            place = row.place
            met[n, place] = min(sum(part is None for part in state), enough)
            rest[n, place] = found[row.rest].place
            for w, following in enumerate(row.moves):
                moves[n, place, w] = found[following].place
    return Automaton(words, moves, rest, met)


class _Row(NamedTuple):
    place: int
    moves: list[_State]
    rest: _State


def _states(constraints: Sequence[Constraint]) -> tuple[dict[_State, _Row], list[int]]:
    """Return the states that can be reached, in the order in which they are, and the words of phrases.

    For each constraint a state holds the longest beginning of a phrase that the words so far end with,
    or ``None`` once it is met.
    """
    for constraint in constraints:
        if not constraint or not all(constraint):
            raise ValueError("a constraint needs phrases, and a phrase words")
        for word in (word for phrase in constraint for word in phrase):
            check_integer("a word of a constraint", word)
    words = sorted({word for constraint in constraints for phrase in constraint for word in phrase})
    first: _State = tuple(() for _ in constraints)
    found: dict[_State, _Row] = {}
    waiting = [first]
    while waiting:
        state = waiting.pop(0)
        if state in found:
            continue
        moves = [_after(state, word, constraints) for word in words]
        rest: _State = tuple(None if part is None else () for part in state)
        found[state] = _Row(len(found), moves, rest)
        waiting += [*moves, rest]
    return found, words


def _after(state: _State, word: int, constraints: Sequence[Constraint]) -> _State:
    return tuple(
        None if part is None else _matched((*part, word), phrases)
        for part, phrases in zip(state, constraints, strict=True)
    )


def _matched(said: Phrase, phrases: Constraint) -> Phrase | None:
    """Return the longest end of ``said`` that begins a phrase, ``None`` if one is complete."""
    ends = [said[n:] for n in range(len(said) + 1)]
    if any(end == tuple(phrase) for end in ends for phrase in phrases):
        return None
    return next(end for end in ends if any(tuple(phrase[: len(end)]) == end for phrase in phrases))
