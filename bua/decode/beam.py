"""Beam search, optionally under the constraints of an automaton.

A beam has M = S N slots, N for each state of an automaton, without an automaton N. A slot is empty if there
are too few sequences.

Shapes: B images, S states of an automaton (1 without), N beam size, M slots, L slots that the step function
is called for, V words, K regions, T steps.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from bua.decode.automaton import Automaton
from bua.decode.options import BeamOptions, Rules
from bua.decode.step import (
    INVALID_LOG_PROBS,
    Hypotheses,
    SpecialTokens,
    StepFunction,
    has_invalid,
    pick,
    reorder,
)
from bua.errors import InputError


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


class BeamStep(NamedTuple):
    """One step of every slot.

    Attributes:
        words: Word that the sequence of the slot was extended by.
        parent: Slot of the previous step that the sequence continues.
        log_prob: Log-probability of the word.
        weights: Attention over the regions when the word was generated.
    """

    words: Int[Tensor, "B M"]
    parent: Int[Tensor, "B M"]
    log_prob: Float[Tensor, "B M"]
    weights: Float[Tensor, "B M K"]


class BeamState:
    """Live and finished sequences of one beam search.

    Args:
        options: Options of the search.
        images: B.
        special: Special tokens of the vocabulary.
        automaton: Constraints of each image, if any.
        device: Device of the tensors.

    Attributes:
        words: Last word of each slot, (B, M), or (B, L) under an automaton; the beginning token (B, 1)
            before the first step.
        extended: True where the last step extended a sequence, (B, M): false in empty slots, and where a
            finished sequence keeps its slot.
        done: True once further steps cannot change the result.
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
        self.extended = torch.zeros(images, 1, dtype=torch.bool, device=device)
        self.done = False
        states = 1 if automaton is None else automaton.num_states
        self._num_slots = states * options.beam_size
        # of the L slots that the step function is called for
        self._slots = torch.zeros(images, 1, dtype=torch.long, device=device)
        self._scores = torch.zeros(images, 1, device=device)
        self._states = torch.zeros(images, 1, dtype=torch.long, device=device)  # of the automaton
        self._history = torch.zeros(images, 1, 0, dtype=torch.long, device=device)
        self._finished = torch.zeros(images, 1, dtype=torch.bool, device=device)
        self._invalid = torch.zeros((), dtype=torch.bool, device=device)
        self._steps: list[BeamStep] = []
        self._collected = _Collected.empty(images, states, options.beam_size, device)

    def advance(
        self,
        log_probs: Float[Tensor, "B L V"],
        weights: Float[Tensor, "B L K"],
        penalty: Float[Tensor, "B V"] | None = None,
    ) -> Int[Tensor, "B L"]:
        """Extend the sequences by the best words, and return the slots whose states the next step needs.

        Args:
            log_probs: Log-probabilities of the next words.
            weights: Attention over the regions.
            penalty: Subtracted from ``log_probs`` when words are chosen, but not from scores.
        """
        t = len(self._steps)
        if self.automaton is not None and not t:
            self.automaton.check(len(self._history), log_probs.shape[2])
        last = t + 1 == self.options.max_length
        allowed = self.options.rules.apply(log_probs, self._history, self.special, last)
        if self.options.finished == "compete" and t:
            allowed = self._keep_finished(allowed)
        ranked = allowed
        if penalty is not None:  # finished sequences generate no words
            ranked = allowed - penalty.unsqueeze(1).masked_fill(self._finished.unsqueeze(-1), 0)
        parent, words, exists = self._best_continuations(ranked)
        word_log_prob = _select(allowed, parent, words)
        scores = (pick(self._scores, parent) + word_log_prob).masked_fill(~exists, -torch.inf)
        self._invalid |= has_invalid(scores)
        was_finished = pick(self._finished, parent)
        self.extended = exists & ~was_finished
        finished = was_finished | (words == self.special.eos)
        parent_slot = parent if self.automaton is None else pick(self._slots, parent)
        self._steps.append(BeamStep(words, parent_slot, word_log_prob, pick(weights, parent)))
        self._history = torch.cat([pick(self._history, parent), words.unsqueeze(2)], 2)
        self.words, self._scores, self._finished = words, scores, finished
        self._collect(t)
        return parent if self.automaton is None else self._drop_empty_slots(parent)

    def best(self) -> Hypotheses:
        """Return the best sequences of each image.

        Raises:
            InputError: If a log-probability of the model was NaN or infinite.
        """
        collected = self._collected.flatten()
        if bool(self._invalid):
            raise InputError(INVALID_LOG_PROBS)
        order = collected.scores.sort(dim=1, descending=True, stable=True).indices
        if self.automaton is not None:
            satisfied = pick(self.automaton.num_satisfied_by_slot(self.options.beam_size), order)
            satisfied = satisfied.masked_fill(pick(collected.scores, order) == -torch.inf, -1)
            order = pick(order, satisfied.sort(dim=1, descending=True, stable=True).indices)
        order = order[:, : self.options.beam_size]
        return self._backtrack(_Collected(*(pick(part, order) for part in collected)))

    def _keep_finished(self, allowed: Tensor) -> Tensor:
        """Let finished sequences repeat the end token with log-probability 0."""
        is_eos = torch.zeros(allowed.shape[-1], dtype=torch.bool, device=allowed.device)
        is_eos[self.special.eos] = True
        finished = self._finished.unsqueeze(-1)
        return allowed.masked_fill(finished & ~is_eos, -torch.inf).masked_fill(finished & is_eos, 0)

    def _best_continuations(self, ranked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return parents and words (B, M) of the best continuations, and whether they exist."""
        total = self._scores.unsqueeze(-1) + ranked
        limit = self.options.per_sequence if self._steps else None  # all begin with the same sequence
        if self.automaton is None:
            total = _keep_best(total, limit)
            values, index = _top(total.flatten(1), self._num_slots)
            return index // total.shape[2], index % total.shape[2], values != -torch.inf
        words, next_states = self.automaton.candidates(total, self._states, self.options.beam_size)
        b, m, c = words.shape
        states = torch.arange(self.automaton.num_states, device=words.device)
        other_state = next_states.view(b, 1, m * c) != states.view(1, -1, 1)
        candidates = total.gather(2, words).view(b, 1, m * c).masked_fill(other_state, -torch.inf)
        candidates = _keep_best(candidates.view(b, -1, m, c), limit).flatten(2)
        values, index = _top(candidates.flatten(0, 1), self.options.beam_size)
        values, index = values.view(b, -1), index.view(b, -1)
        self._states = states.repeat_interleave(self.options.beam_size).expand(b, -1)
        return index // c, words.view(b, m * c).gather(1, index), values != -torch.inf

    def _drop_empty_slots(self, parent: Tensor) -> Tensor:
        """Drop empty slots, and return the parents of the others, (B, L).

        Most states of an automaton are reached late or never. L is the largest number of sequences of any
        image, at least 1.
        """
        live = self._scores > -torch.inf
        num_kept = max(int(live.sum(1).max()), 1)
        kept = live.long().sort(dim=1, descending=True, stable=True).indices[:, :num_kept]
        self._slots = kept
        self.words, self._history = pick(self.words, kept), pick(self._history, kept)
        self._scores, self._finished = pick(self._scores, kept), pick(self._finished, kept)
        self._states = pick(self._states, kept)
        return pick(parent, kept)

    def _collect(self, t: int) -> None:
        """Collect finished sequences after step ``t``, and decide whether the search is done."""
        last = t + 1 == self.options.max_length
        if self.options.finished == "compete":
            live = self._scores.isfinite() & ~self._finished
            self.done = last or not bool(live.any())
            if self.done:
                lengths = (self._history != self.special.eos).cumprod(2).sum(2) + self._finished
                penalties = self._length_penalties().to(lengths.device)[lengths]
                # replace earlier results: a diverse search may advance a group that is done, with its others
                b, s, n = self._collected.scores.shape
                empty = _Collected.empty(b, s, n, lengths.device)
                self._collected = empty.add(t, self._scores / penalties)
            return
        finished = self._finished if not last else torch.ones_like(self._finished)
        scores = self._scores / self.options.length_penalty(t + 1)
        self._collected = self._collected.add(t, scores.masked_fill(~finished, -torch.inf))
        self._scores = self._scores.masked_fill(finished, -torch.inf)
        self._finished = torch.zeros_like(self._finished)
        self.done = last or not bool(self._can_improve().any())

    def _can_improve(self) -> Bool[Tensor, " B"]:
        """Return for which images a live sequence may still beat a collected one.

        Log-probabilities only decrease, so the best live score bounds all its continuations.
        """
        bound = self._scores.amax(1) / self.options.length_penalty(self.options.max_length)
        collected = self._collected.scores.flatten(1)
        if self.automaton is not None:
            satisfied = self.automaton.num_satisfied_by_slot(self.options.beam_size)
            collected = collected.masked_fill(satisfied < satisfied.amax(1, keepdim=True), -torch.inf)
        worst = collected.topk(self.options.beam_size, dim=1).values[:, -1]
        return bound > worst

    def _length_penalties(self) -> Tensor:
        """Return the length penalty of every length, 1 for a length of 0."""
        lengths = range(1, self.options.max_length + 1)
        return torch.tensor([1.0, *(self.options.length_penalty(n) for n in lengths)])

    def _backtrack(self, collected: "_Collected") -> Hypotheses:
        """Follow the parents of collected sequences (B, N) back to the first step."""
        slot, columns = collected.slots, []
        for t in range(len(self._steps) - 1, -1, -1):
            step = self._steps[t]
            real = (collected.steps >= t) & (collected.scores > -torch.inf)
            words = step.words.gather(1, slot)
            columns.append((real, words, step.log_prob.gather(1, slot), pick(step.weights, slot)))
            slot = torch.where(real, step.parent.gather(1, slot), slot)
        real, words, word_log_prob, weights = (
            torch.stack(part[::-1], 2) for part in zip(*columns, strict=True)
        )
        ended = (words == self.special.eos) & real
        real = real & (
            ended.cumsum(2) - ended.long() == 0
        )  # finished sequences that compete repeat their end
        length = int(real.flatten(0, 1).any(0).sum())
        words = words.masked_fill(~real, self.special.padding)[..., :length]
        word_log_prob = word_log_prob.masked_fill(~real, 0)[..., :length]
        log_prob = word_log_prob.sum(2).masked_fill(collected.scores == -torch.inf, -torch.inf)
        weights = (weights * real.unsqueeze(-1))[..., :length, :]
        return Hypotheses(words, log_prob, collected.scores, word_log_prob, weights)


class _Collected(NamedTuple):
    """The best finished sequences of each state: their score, last step, and slot at that step."""

    scores: Tensor  # (B, S, N)
    steps: Tensor
    slots: Tensor

    @classmethod
    def empty(cls, images: int, states: int, beam_size: int, device: torch.device | str) -> "_Collected":
        scores = torch.full((images, states, beam_size), -torch.inf, device=device)
        zeros = torch.zeros(images, states, beam_size, dtype=torch.long, device=device)
        return cls(scores, zeros, zeros)

    def add(self, step: int, scores: Float[Tensor, "B M"]) -> "_Collected":
        """Return the best of these sequences and those that end at a step."""
        b, s, n = self.scores.shape
        slots = torch.arange(s * n, device=scores.device).view(1, s, n).expand(b, s, n)
        best, index = torch.cat([self.scores, scores.view(b, s, n)], 2).topk(n, dim=2)
        steps = torch.cat([self.steps, torch.full_like(slots, step)], 2).gather(2, index)
        return _Collected(best, steps, torch.cat([self.slots, slots], 2).gather(2, index))

    def flatten(self) -> "_Collected":
        """Return the same sequences as (B, M)."""
        return _Collected(*(part.flatten(1) for part in self))


def _top(values: Float[Tensor, "R C"], count: int) -> tuple[Float[Tensor, "R N"], Int[Tensor, "R N"]]:
    """Return the largest values and their indices; if there are too few, minus infinity with any index."""
    missing = max(count - values.shape[1], 0)
    best, index = functional.pad(values, (0, missing), value=-torch.inf).topk(count, dim=1)
    return best, index.clamp(max=values.shape[1] - 1)


def _keep_best(values: Float[Tensor, "*S C"], count: int | None) -> Float[Tensor, "*S C"]:
    """Return the values with minus infinity for all but the largest of each row."""
    if count is None or count >= values.shape[-1]:
        return values
    best, index = values.topk(count, dim=-1)
    return torch.full_like(values, -torch.inf).scatter_(-1, index, best)


def _select(values: Float[Tensor, "B L V"], parent: Tensor, words: Tensor) -> Tensor:
    """Return ``values[b, parent[b, n], words[b, n]]``."""
    return values.flatten(1).gather(1, parent * values.shape[2] + words)
