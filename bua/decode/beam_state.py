"""The sequences that a beam search keeps, and how they go on.

Shapes: B images, S states of an automaton (1 without), N sequences kept in each, M = S N places, V
words, K regions, T steps.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from bua.decode.automaton import Automaton
from bua.decode.options import BeamOptions
from bua.decode.step import BROKEN, Hypotheses, SpecialTokens, broken, pick
from bua.errors import InputError


class BeamStep(NamedTuple):
    """One step of every place: what was said, after which place, how likely, looking where."""

    words: Int[Tensor, "B M"]
    parent: Int[Tensor, "B M"]
    log_prob: Float[Tensor, "B M"]
    weights: Float[Tensor, "B M K"]


class BeamState:
    """Live and finished sequences of one search.

    Args:
        options: Options of the search.
        images: B.
        special: indices of special words.
        automaton: what must be said, if anything.
        device: of the tensors.

    Attributes:
        words: (B, M) the last word of each place, (B, 1) the beginning before the first step; under an
            automaton (B, L), of places with a sequence only.
        spoke: (B, M) where a sequence said that word: not where there is none, or one that waits.
        done: nothing that is still to come can change the result.
    """

    def __init__(
        self,
        options: BeamOptions,
        images: int,
        special: SpecialTokens,
        automaton: Automaton | None,
        device: torch.device | str,
    ) -> None:
        self.options, self.special, self.automaton = options, special, automaton
        self.words = torch.full((images, 1), special.bos, device=device)
        self.spoke = torch.zeros(images, 1, dtype=torch.bool, device=device)
        self.done = False
        states = 1 if automaton is None else automaton.states
        self._places = states * options.beam_size
        self._live = torch.zeros(images, 1, dtype=torch.long, device=device)
        self._scores = torch.zeros(images, 1, device=device)
        self._nodes = torch.zeros(images, 1, dtype=torch.long, device=device)
        self._said = torch.zeros(images, 1, 0, dtype=torch.long, device=device)
        self._over = torch.zeros(images, 1, dtype=torch.bool, device=device)
        self._broken = torch.zeros((), dtype=torch.bool, device=device)
        self._trace: list[BeamStep] = []
        self._collected = _Collected.none(images, states, options.beam_size, device)

    def choose(
        self, log_probs: Float[Tensor, "B M V"], weights: Float[Tensor, "B M K"], less: Tensor | None = None
    ) -> Int[Tensor, "B M"]:
        """Continue with the best words and return the place that each new one follows.

        Args:
            log_probs: of the next word.
            weights: of the regions.
            less: (B, V), taken off while words are chosen, not from what they count afterwards.
        """
        t = len(self._trace)
        if self.automaton is not None and not t:
            self.automaton.check(len(self._said), log_probs.shape[2])
        last = t + 1 == self.options.max_length
        allowed = self.options.rules.apply(log_probs, self._said, self.special, last)
        if self.options.finished == "compete" and t:
            allowed = self._waiting(allowed)
        ranked = allowed
        if less is not None:  # what waits says nothing
            ranked = allowed - less.unsqueeze(1).masked_fill(self._over.unsqueeze(-1), 0)
        parent, words, there = self._continue(ranked)
        gained = _entry(allowed, parent, words)
        scores = (pick(self._scores, parent) + gained).masked_fill(~there, -torch.inf)
        self._broken |= broken(scores)
        before = pick(self._over, parent)
        self.spoke = there & ~before
        over = before | (words == self.special.eos)
        origin = parent if self.automaton is None else pick(self._live, parent)
        self._trace.append(BeamStep(words, origin, gained, pick(weights, parent)))
        self._said = torch.cat([pick(self._said, parent), words.unsqueeze(2)], 2)
        self.words, self._scores, self._over = words, scores, over
        self._collect(t)
        return parent if self.automaton is None else self._narrowed(parent)

    def best(self) -> Hypotheses:
        """Return the best sequences of each image.

        Raises:
            InputError: a score is not a number, or infinite.
        """
        found = self._collected.flat()
        if bool(self._broken):
            raise InputError(BROKEN)
        order = found.scores.sort(dim=1, descending=True, stable=True).indices
        if self.automaton is not None:
            met = self.automaton.fulfilled(self.options.beam_size)
            met = pick(met, order).masked_fill(pick(found.scores, order) == -torch.inf, -1)
            order = pick(order, met.sort(dim=1, descending=True, stable=True).indices)
        return self._backtrack(
            _Collected(*(pick(part, order[:, : self.options.beam_size]) for part in found))
        )

    def _waiting(self, allowed: Tensor) -> Tensor:
        """Let what has ended say its end again, for nothing."""
        end = torch.zeros(allowed.shape[-1], dtype=torch.bool, device=allowed.device)
        end[self.special.eos] = True
        over = self._over.unsqueeze(-1)
        return allowed.masked_fill(over & ~end, -torch.inf).masked_fill(over & end, 0)

    def _continue(self, ranked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return parents and words (B, M) of the best continuations, and which of them there are."""
        total = self._scores.unsqueeze(-1) + ranked
        if self.automaton is None:
            values, index = _top(total.flatten(1), self._places)
            return index // total.shape[2], index % total.shape[2], values != -torch.inf
        words, nodes = self.automaton.candidates(total, self._nodes, self.options.beam_size)
        b, m, c = words.shape
        states = torch.arange(self.automaton.states, device=words.device)
        elsewhere = nodes.view(b, 1, m * c) != states.view(1, -1, 1)
        every = total.gather(2, words).view(b, 1, m * c).masked_fill(elsewhere, -torch.inf)
        values, index = _top(every.flatten(0, 1), self.options.beam_size)
        values, index = values.view(b, -1), index.view(b, -1)
        self._nodes = states.repeat_interleave(self.options.beam_size).expand(b, -1)
        return index // c, words.view(b, m * c).gather(1, index), values != -torch.inf

    def _narrowed(self, parent: Tensor) -> Tensor:
        """Leave out places without a sequence, and return the parents of the others (B, L).

        Most states of an automaton are reached late, or not at all. L is of the image with the most.
        """
        live = self._scores > -torch.inf
        most = max(int(live.sum(1).max()), 1)
        kept = live.long().sort(dim=1, descending=True, stable=True).indices[:, :most]
        self._live = kept
        self.words, self._said = pick(self.words, kept), pick(self._said, kept)
        self._scores, self._over = pick(self._scores, kept), pick(self._over, kept)
        self._nodes = pick(self._nodes, kept)
        return pick(parent, kept)

    def _collect(self, t: int) -> None:
        last = t + 1 == self.options.max_length
        if self.options.finished == "compete":
            live = self._scores.isfinite() & ~self._over
            self.done = last or not bool(live.any())
            if self.done:
                lengths = (self._said != self.special.eos).cumprod(2).sum(2) + self._over
                divisors = self._divisors().to(lengths.device)[lengths]
                # anew: a group whose sequences wait for those of others is at its end at every step
                b, s, n = self._collected.scores.shape
                nothing = _Collected.none(b, s, n, lengths.device)
                self._collected = nothing.add(t, self._scores / divisors)
            return
        over = self._over if not last else torch.ones_like(self._over)
        score = self._scores / self.options.length_penalty(t + 1)
        self._collected = self._collected.add(t, score.masked_fill(~over, -torch.inf))
        self._scores = self._scores.masked_fill(over, -torch.inf)
        self._over = torch.zeros_like(self._over)
        self.done = last or not bool(self._can_improve().any())

    def _can_improve(self) -> Bool[Tensor, " B"]:
        """Say of which images a live sequence can still be better: log-probabilities only shrink."""
        bound = self._scores.amax(1) / self.options.length_penalty(self.options.max_length)
        found = self._collected.scores.flatten(1)
        if self.automaton is not None:
            wanted = self.automaton.fulfilled(self.options.beam_size)
            found = found.masked_fill(wanted < wanted.amax(1, keepdim=True), -torch.inf)
        worst = found.topk(self.options.beam_size, dim=1).values[:, -1]
        return bound > worst

    def _divisors(self) -> Tensor:
        """Return the divisor of each length, 1 for a length of 0."""
        lengths = range(1, self.options.max_length + 1)
        return torch.tensor([1.0, *(self.options.length_penalty(n) for n in lengths)])

    def _backtrack(self, found: "_Collected") -> Hypotheses:
        place, columns = found.places, []
        for t in range(len(self._trace) - 1, -1, -1):
            said = self._trace[t]
            there = (found.steps >= t) & (found.scores > -torch.inf)
            words = said.words.gather(1, place)
            columns.append((there, words, said.log_prob.gather(1, place), pick(said.weights, place)))
            place = torch.where(there, said.parent.gather(1, place), place)
        there, words, gained, weights = (torch.stack(part[::-1], 2) for part in zip(*columns, strict=True))
        ended = (words == self.special.eos) & there
        there = there & (ended.cumsum(2) - ended.long() == 0)  # what competes says its end again
        length = int(there.flatten(0, 1).any(0).sum())
        words = words.masked_fill(~there, self.special.padding)[..., :length]
        gained = gained.masked_fill(~there, 0)[..., :length]
        log_prob = gained.sum(2).masked_fill(found.scores == -torch.inf, -torch.inf)
        weights = (weights * there.unsqueeze(-1))[..., :length, :]
        return Hypotheses(words, log_prob, found.scores, gained, weights)


class _Collected(NamedTuple):
    """The best finished sequences so far of each state: score, last step and place in the beam."""

    scores: Tensor  # (B, S, N)
    steps: Tensor
    places: Tensor

    @classmethod
    def none(cls, images: int, states: int, beam_size: int, device: torch.device | str) -> "_Collected":
        empty = torch.full((images, states, beam_size), -torch.inf, device=device)
        zeros = torch.zeros(images, states, beam_size, dtype=torch.long, device=device)
        return cls(empty, zeros, zeros)

    def add(self, step: int, scores: Float[Tensor, "B M"]) -> "_Collected":
        """Return the best of these and of the places of a step."""
        b, s, n = self.scores.shape
        places = torch.arange(s * n, device=scores.device).view(1, s, n).expand(b, s, n)
        every = torch.cat([self.scores, scores.view(b, s, n)], 2)
        best, index = every.topk(n, dim=2)
        steps = torch.cat([self.steps, torch.full_like(places, step)], 2).gather(2, index)
        return _Collected(best, steps, torch.cat([self.places, places], 2).gather(2, index))

    def flat(self) -> "_Collected":
        """Return the same as (B, S N)."""
        return _Collected(*(part.flatten(1) for part in self))


def _top(values: Float[Tensor, "R C"], count: int) -> tuple[Float[Tensor, "R N"], Int[Tensor, "R N"]]:
    """Return the largest values and their places; where there are fewer, minus infinity and any place."""
    missing = max(count - values.shape[1], 0)
    best, index = functional.pad(values, (0, missing), value=-torch.inf).topk(count, dim=1)
    return best, index.clamp(max=values.shape[1] - 1)


def _entry(values: Float[Tensor, "B M V"], parent: Tensor, words: Tensor) -> Tensor:
    """Return ``values[b, parent[b, n], words[b, n]]``."""
    return values.flatten(1).gather(1, parent * values.shape[2] + words)
