"""Options of searches: rules about words, number of beams, length, and comparison of finished sequences.

Shapes: B images, N sequences per image, V words, t words so far.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bua.decode.step import SpecialTokens
from bua.errors import InputError, check_flag, check_integer, check_kind, check_number
from bua.text.vocabulary import Vocabulary

log = logging.getLogger(__name__)

Search = TypeVar("Search")

#: A word, or its index in the vocabulary.
Word = int | str
#: Rules that are lists of words.
_WORD_LISTS = ("bad_words", "repeatable_words", "bad_endings")


@dataclass(frozen=True)
class Rules:
    """Words that a search must not generate; the log-probabilities of other words do not change.

    If the rules leave a sequence no word at all, it ends, so that a search always returns sequences.

    Attributes:
        bad_words: Words that are never generated.
        allow_unknown: Whether the unknown word may be generated.
        min_length: Smallest number of words of a caption, without the end token. If it is the largest number
            that the search allows, there is no room for an end token and all captions are cut there.
        allow_repeat: Whether a word may directly follow itself.
        repeatable_words: Words that may be generated more than once; None for all words. With the 19 words
            of its decoder this is the rule of Up-Down's Caffe release.
        no_repeat_ngram_size: Length of the n-grams that may not be repeated; 0 for no such rule.
        bad_endings: Words that a caption must not end with, not even at the length limit.

    Raises:
        ValueError: If an option has the wrong type or is out of range.
    """

    bad_words: Sequence[Word] = ()
    allow_unknown: bool = False
    min_length: int = 0
    allow_repeat: bool = True
    repeatable_words: Sequence[Word] | None = None
    no_repeat_ngram_size: int = 0
    bad_endings: Sequence[Word] = ()

    def __post_init__(self) -> None:
        for name in ("min_length", "no_repeat_ngram_size"):
            check_integer(name, getattr(self, name))
        for name in ("allow_unknown", "allow_repeat"):
            check_flag(name, getattr(self, name))
        for name in _WORD_LISTS:
            words = getattr(self, name)
            if not _is_word_list(words):
                raise ValueError(f"{name} must be a list of words, got {words}")

    def to_indices(self, index: Callable[[str], int | None]) -> "Rules":
        """Return the same rules with word indices instead of words.

        Args:
            index: Returns the index of a word, None if the vocabulary lacks it; such words are dropped,
                because they are never generated.
        """

        def indices(words: Sequence[Word]) -> tuple[int, ...]:
            found = (index(word) if isinstance(word, str) else word for word in words)
            return tuple(word for word in found if word is not None)

        repeatable_words = None if self.repeatable_words is None else indices(self.repeatable_words)
        return replace(
            self,
            bad_words=indices(self.bad_words),
            repeatable_words=repeatable_words,
            bad_endings=indices(self.bad_endings),
        )

    def name_words(self) -> bool:
        """Return whether any rule names words."""
        return any(len(getattr(self, name) or ()) for name in _WORD_LISTS)

    def unknown_words(self, index: Callable[[str], int | None]) -> dict[str, list[Word]]:
        """Return the words that the vocabulary lacks, by rule.

        Args:
            index: Returns the index of a word, None if the vocabulary lacks it.
        """

        def is_unknown(word: Word) -> bool:
            return isinstance(word, str) and index(word) is None

        unknown = {name: list(filter(is_unknown, getattr(self, name) or ())) for name in _WORD_LISTS}
        return {name: words for name, words in unknown.items() if words}

    def apply(
        self,
        log_probs: Float[Tensor, "B N V"],
        history: Int[Tensor, "B N t"],
        special: SpecialTokens,
        last: bool = False,
    ) -> Float[Tensor, "B N V"]:
        """Return the log-probabilities with minus infinity for words that may not come next.

        Args:
            log_probs: Log-probabilities of the model.
            history: Words generated so far.
            special: Special tokens of the vocabulary.
            last: Whether this is the last step of the search, so that bad endings are banned.

        Raises:
            ValueError: If a rule names words instead of indices, or has an index that is not in the
                vocabulary.
        """
        size, t = log_probs.shape[-1], history.shape[-1]
        banned = self._always_banned(size, special) + ([special.eos] if t < self.min_length else [])
        if last:
            banned += self._word_indices("bad_endings", size, special)
        allowed = log_probs.index_fill(-1, torch.tensor(banned, device=history.device).long(), -torch.inf)
        if t:
            self._ban_by_history(allowed, history, special)
        # a sequence without any allowed word ends, even if the model gives its end a probability of 0
        stuck = allowed.amax(-1) == -torch.inf
        lowest = torch.finfo(log_probs.dtype).min
        end = log_probs[..., special.eos].clamp(min=lowest)
        allowed[..., special.eos] = torch.where(stuck, end, allowed[..., special.eos])
        return allowed

    def _ban_by_history(self, allowed: Tensor, history: Tensor, special: SpecialTokens) -> None:
        """Ban, in place, the words that the words so far forbid."""
        last_word = history[..., -1:]
        if not self.allow_repeat:
            allowed.scatter_(2, last_word, -torch.inf)
        if self.repeatable_words is not None:
            indices = [*self._as_indices(self.repeatable_words), special.eos]
            repeatable = torch.isin(history, history.new_tensor(indices))
            kept = allowed.gather(2, history).masked_fill(~repeatable, -torch.inf)
            allowed.scatter_(2, history, kept)
        if self.no_repeat_ngram_size == 1 or 1 < self.no_repeat_ngram_size <= history.shape[-1]:
            _ban_repeated_ngrams(allowed, history, self.no_repeat_ngram_size)
        if self.bad_endings:
            bad_ending = torch.isin(last_word, last_word.new_tensor(self._as_indices(self.bad_endings)))
            allowed[..., special.eos : special.eos + 1].masked_fill_(bad_ending, -torch.inf)

    def _always_banned(self, size: int, special: SpecialTokens) -> list[int]:
        tokens = [special.padding, special.bos, *([] if self.allow_unknown else [special.unknown])]
        bad_words = self._word_indices("bad_words", size, special)
        return [token for token in tokens if token >= 0 and token != special.eos] + bad_words

    def _word_indices(self, name: str, size: int, special: SpecialTokens) -> list[int]:
        """Return the word indices of a rule, without the end token."""
        words = [word for word in self._as_indices(getattr(self, name)) if word != special.eos]
        if words and not 0 <= min(words) <= max(words) < size:
            raise ValueError(f"{name} must be indices below the vocabulary size {size}, got {words}")
        return words

    @staticmethod
    def _as_indices(words: Sequence[Word]) -> list[int]:
        for word in words:
            if isinstance(word, str):
                raise ValueError(f"rules must be word indices, see Rules.to_indices, got the word {word!r}")
        return [int(word) for word in words]


def _is_word_list(words: object) -> bool:
    if not isinstance(words, Sequence) or isinstance(words, str):
        return words is None
    return all(isinstance(word, int | str) and not isinstance(word, bool) for word in words)


def _ban_repeated_ngrams(allowed: Float[Tensor, "B N V"], history: Int[Tensor, "B N t"], n: int) -> None:
    """Ban, in place, the words that would complete an n-gram of the history."""
    ngrams = history.unfold(2, n, 1)  # (B, N, t - n + 1, n)
    prefix = history[..., history.shape[-1] - n + 1 :].unsqueeze(2)
    same_prefix = (ngrams[..., :-1] == prefix).all(-1)
    # a word may complete several n-grams: it is banned if any of them starts with the prefix
    upper_bound = torch.where(same_prefix, -torch.inf, torch.inf).to(allowed)
    allowed.scatter_reduce_(2, ngrams[..., -1], upper_bound, "amin")


#: Largest exponent of a length penalty.
MAX_ALPHA = 10
PENALTIES = ("none", "average", "wu")
#: What happens to a finished sequence, see ``BeamOptions.finished``.
FINISHED = ("retire", "compete")


@dataclass(frozen=True)
class LengthPenalty:
    """A divisor of log-probabilities that grows with the length, so that long sequences can compete.

    Attributes:
        rule: ``none`` divides by 1, ``average`` by length ** alpha, ``wu`` by ((5 + length) / 6) ** alpha
            (Wu et al. 2016, equation 14).
        alpha: Strength of the penalty, from 0 (none) to 10.

    Raises:
        ValueError: If the rule is unknown or alpha is out of range.
    """

    rule: str = "none"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.rule not in PENALTIES:
            raise ValueError(f"length_penalty.rule must be one of {', '.join(PENALTIES)}, got {self.rule!r}")
        check_number("length_penalty.alpha", self.alpha, most=MAX_ALPHA)

    def __call__(self, length: int) -> float:
        """Return the divisor for a sequence of ``length`` words, the end token included."""
        if self.rule == "none":
            return 1.0
        base = length if self.rule == "average" else (5 + length) / 6
        return float(base**self.alpha)


@dataclass(frozen=True)
class BeamOptions:
    """Options that all beam searches have.

    Attributes:
        beam_size: Number of sequences kept at every step and returned; with an automaton, per state.
        max_length: Length of the longest sequence, the end token included.
        finished: ``retire``: a finished sequence is collected and frees its slot for the next step
            (self-critical.pytorch); the search of an image ends when no live sequence can still beat the
            worst of ``beam_size`` collected ones. ``compete``: it keeps its slot until better sequences
            take it (Up-Down's Caffe release); the search ends when every slot is finished.
        rules: Words that the search must not generate.
        length_penalty: Penalty by which finished sequences are compared.
        per_sequence: Largest number of continuations of one sequence that are kept at a step after the first,
            under constraints for each state of the automaton (AllenNLP, "per node beam size"). Default: no
            limit.

    Raises:
        ValueError: If an option has the wrong type or is out of range.
    """

    beam_size: int = 5
    max_length: int = 20
    finished: str = "retire"
    rules: Rules = field(default_factory=Rules)
    length_penalty: LengthPenalty = field(default_factory=LengthPenalty)
    per_sequence: int | None = None

    def __post_init__(self) -> None:
        check_integer("beam_size", self.beam_size, 1)
        check_integer("max_length", self.max_length, 1)
        check_kind("rules", self.rules, Rules)
        check_kind("length_penalty", self.length_penalty, LengthPenalty)
        if self.per_sequence is not None:
            check_integer("per_sequence", self.per_sequence, 1)
        if self.finished not in FINISHED:
            raise ValueError(f"finished must be {' or '.join(FINISHED)}, got {self.finished!r}")

    @property
    def num_sequences(self) -> int:
        """Number of sequences that the search returns for each image."""
        return self.beam_size


@cache
def _warn_once(line: str) -> None:
    log.warning(line)


def resolve_rule_words(decoder: Search, vocabulary: Vocabulary) -> Search:
    """Return a copy of a search whose rules are in the word indices of a vocabulary.

    Words that the vocabulary lacks are reported once a process.

    Args:
        decoder: Search whose rules may name words.
        vocabulary: Vocabulary of the captioner.

    Raises:
        InputError: If the vocabulary consists of subwords and a rule is about whole words.
    """
    rules: Rules = decoder.rules  # type: ignore[attr-defined]
    repeats = not rules.allow_repeat or rules.no_repeat_ngram_size
    if vocabulary.subword_model and (rules.name_words() or repeats):
        raise InputError(
            "the rules allow_repeat, repeatable_words, no_repeat_ngram_size, bad_words and bad_endings are "
            "about words, but the model generates subwords"
        )
    for rule, words in rules.unknown_words(vocabulary.index).items():
        listed = ", ".join(map(str, words))
        _warn_once(f"rules.{rule}: has no effect for {listed}, which the vocabulary lacks")
    resolved: Any = replace(decoder, rules=rules.to_indices(vocabulary.index))  # type: ignore[type-var]
    return resolved  # type: ignore[no-any-return]
