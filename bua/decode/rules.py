"""What a caption may not say: rules over the words so far, for every search alike.

Shapes: B images, N sequences an image, V words, t words so far.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bua.decode.step import SpecialTokens
from bua.errors import check_flag, check_integer

Word = int | str
#: Rules that name words.
_OF_WORDS = ("bad_words", "repeatable_words", "bad_endings")


@dataclass(frozen=True)
class Rules:
    """Words that a search leaves out; the log-probabilities of the others are not changed.

    A sequence that could say nothing any more ends, whatever the rules: a search never returns
    nothing.

    Attributes:
        bad_words: words never to be said.
        allow_unknown: the unknown word may be said.
        min_length: a caption has at least so many words, its end not counted; as many as a search allows
            leave no room for an end, and all captions are cut there.
        allow_repeat: a word may follow itself.
        repeatable_words: the words that may be said more than once; all of them where it is ``None``. With
            the 19 words of its decoder this is the rule of Up-Down's Caffe release.
        no_repeat_ngram_size: no sequence of so many words is said twice; 0 for no such rule.
        bad_endings: words that a caption may not end with, at the length limit neither.
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
        for name in _OF_WORDS:
            words = getattr(self, name)
            if not _are_words(words):
                raise ValueError(f"{name} is {words}; a list of words is needed")

    def indexed(self, index: Callable[[str], int | None]) -> "Rules":
        """Return the same rules over the indices of words.

        Args:
            index: gives the index of a word, ``None`` for one that the vocabulary lacks: such a word
                is never said anyway.
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

    def of_words(self) -> bool:
        """Say whether a rule names words."""
        return any(getattr(self, name) not in (None, ()) and len(getattr(self, name)) for name in _OF_WORDS)

    def unheard(self, index: Callable[[str], int | None]) -> dict[str, list[Word]]:
        """Return, by rule, the words that it names and the vocabulary lacks, as of ``indexed``."""

        def lacks(word: Word) -> bool:
            return isinstance(word, str) and index(word) is None

        lacking = {name: list(filter(lacks, getattr(self, name) or ())) for name in _OF_WORDS}
        return {name: words for name, words in lacking.items() if words}

    def apply(
        self,
        log_probs: Float[Tensor, "B N V"],
        said: Int[Tensor, "B N t"],
        special: SpecialTokens,
        last: bool = False,
    ) -> Float[Tensor, "B N V"]:
        """Return log-probabilities that are minus infinity where a word may not come next.

        Args:
            log_probs: as the model gave them.
            said: the words so far.
            special: indices of the special words.
            last: no word may follow: an ending would be one of the caption.
        """
        size, t = log_probs.shape[-1], said.shape[-1]
        never = self._never(size, special) + ([special.eos] if t < self.min_length else [])
        if last:
            never += self._words("bad_endings", size, special)
        allowed = log_probs.index_fill(-1, torch.tensor(never, device=said.device).long(), -torch.inf)
        if t:
            self._ban_said(allowed, said, special)
        stuck = allowed.amax(-1) == -torch.inf
        lowest = torch.finfo(log_probs.dtype).min
        end = log_probs[..., special.eos].clamp(min=lowest)
        allowed[..., special.eos] = torch.where(stuck, end, allowed[..., special.eos])
        return allowed

    def _ban_said(self, allowed: Tensor, said: Tensor, special: SpecialTokens) -> None:
        """Ban, in place, what follows from the words so far."""
        last = said[..., -1:]
        if not self.allow_repeat:
            allowed.scatter_(2, last, -torch.inf)
        if self.repeatable_words is not None:
            free = torch.isin(said, said.new_tensor([*self._indices(self.repeatable_words), special.eos]))
            kept = allowed.gather(2, said).masked_fill(~free, -torch.inf)
            allowed.scatter_(2, said, kept)
        if self.no_repeat_ngram_size == 1 or 1 < self.no_repeat_ngram_size <= said.shape[-1]:
            _ban_completions(allowed, said, self.no_repeat_ngram_size)
        if self.bad_endings:
            dangling = torch.isin(last, last.new_tensor(self._indices(self.bad_endings)))
            allowed[..., special.eos : special.eos + 1].masked_fill_(dangling, -torch.inf)

    def _never(self, size: int, special: SpecialTokens) -> list[int]:
        silent = [special.padding, special.bos, *([] if self.allow_unknown else [special.unknown])]
        bad_words = self._words("bad_words", size, special)
        return [word for word in silent if word >= 0 and word != special.eos] + bad_words

    def _words(self, name: str, size: int, special: SpecialTokens) -> list[int]:
        """Return the words of a rule, without the end."""
        words = [word for word in self._indices(getattr(self, name)) if word != special.eos]
        if words and not 0 <= min(words) <= max(words) < size:
            raise ValueError(f"{name} are {words}, of {size} words")
        return words

    @staticmethod
    def _indices(words: Sequence[Word]) -> list[int]:
        for word in words:
            if isinstance(word, str):
                raise ValueError(f"rules name the word {word!r}; take its index first, by Rules.indexed")
        return [int(word) for word in words]


def _are_words(words: object) -> bool:
    if not isinstance(words, Sequence) or isinstance(words, str):
        return words is None
    return all(isinstance(word, int | str) and not isinstance(word, bool) for word in words)


def _ban_completions(allowed: Float[Tensor, "B N V"], said: Int[Tensor, "B N t"], order: int) -> None:
    """Ban, in place, the words that would end an n-gram that was said before."""
    grams = said.unfold(2, order, 1)  # (B, N, t - order + 1, order)
    beginning = said[..., said.shape[-1] - order + 1 :].unsqueeze(2)
    same = (grams[..., :-1] == beginning).all(-1)
    # a word may end several: it is banned if one of them began as the last words do
    most = torch.where(same, -torch.inf, torch.inf).to(allowed)
    allowed.scatter_reduce_(2, grams[..., -1], most, "amin")
