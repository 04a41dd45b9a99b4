"""What a caption may not say: rules over the words so far, for every search alike.

Shapes: B images, N sequences an image, V words, t words so far.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bua.decode.step import Special
from bua.errors import check_flag, check_whole

Word = int | str


@dataclass(frozen=True)
class Rules:
    """Words that a search leaves out; the log-probabilities of the others are not changed.

    A sequence that could say nothing any more ends, whatever the rules: a search never returns
    nothing.

    Attributes:
        banned: words never to be said.
        unknown: the unknown word may be said.
        min_words: a caption has at least so many words, its end not counted.
        twice: a word may follow itself.
        again: the words that may be said more than once; all of them where it is ``None``. With the
            19 words of its decoder this is the rule of Up-Down's Caffe release.
        ngram: no sequence of so many words is said twice; 0 for no such rule.
        endings: words that a caption may not end with.
    """

    banned: Sequence[Word] = ()
    unknown: bool = False
    min_words: int = 0
    twice: bool = True
    again: Sequence[Word] | None = None
    ngram: int = 0
    endings: Sequence[Word] = ()

    def __post_init__(self) -> None:
        for name in ("min_words", "ngram"):
            check_whole(name, getattr(self, name))
        for name in ("unknown", "twice"):
            check_flag(name, getattr(self, name))
        for name in ("banned", "again", "endings"):
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

        again = None if self.again is None else indices(self.again)
        return replace(self, banned=indices(self.banned), again=again, endings=indices(self.endings))

    def apply(
        self, log_probs: Float[Tensor, "B N V"], said: Int[Tensor, "B N t"], special: Special
    ) -> Float[Tensor, "B N V"]:
        """Return log-probabilities that are minus infinity where a word may not come next.

        Args:
            log_probs: as the model gave them.
            said: the words so far.
            special: indices of the special words.
        """
        banned = self._banned(log_probs, said, special)
        allowed = log_probs.masked_fill(banned, -torch.inf)
        stuck = allowed.amax(-1) == -torch.inf
        lowest = torch.finfo(log_probs.dtype).min
        end = torch.where(stuck, log_probs[..., special.eos].clamp(min=lowest), allowed[..., special.eos])
        return torch.cat(
            [allowed[..., : special.eos], end.unsqueeze(-1), allowed[..., special.eos + 1 :]], -1
        )

    def _banned(self, log_probs: Tensor, said: Tensor, special: Special) -> Bool[Tensor, "*B N V"]:
        size, (b, n, t) = log_probs.shape[-1], said.shape
        never = self._never(size, special).to(log_probs.device)
        if t < self.min_words:
            never[special.eos] = True
        banned = never.expand(b, n, size)
        if t == 0:
            return banned
        banned = banned.clone()
        last = said[..., -1:]
        if not self.twice:
            banned.scatter_(2, last, True)
        if self.again is not None:
            once = torch.zeros_like(banned).scatter_(2, said, True)
            once[..., [*self._indices(self.again), special.eos]] = False
            banned |= once
        if self.ngram == 1 or 1 < self.ngram <= t:
            banned |= _completes(said, self.ngram, size)
        if self.endings:
            dangling = torch.isin(last, last.new_tensor(self._indices(self.endings)))
            banned[..., special.eos : special.eos + 1] |= dangling
        return banned

    def _never(self, size: int, special: Special) -> Bool[Tensor, " V"]:
        never = torch.zeros(size, dtype=torch.bool)
        silent = [special.padding, special.bos, *([] if self.unknown else [special.unknown])]
        never[[word for word in silent if word >= 0 and word != special.eos]] = True
        banned = [word for word in self._indices(self.banned) if word != special.eos]
        if banned and not 0 <= min(banned) <= max(banned) < size:
            raise ValueError(f"banned are {banned}, of {size} words")
        never[banned] = True
        return never

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


def _completes(said: Int[Tensor, "B N t"], order: int, size: int) -> Bool[Tensor, "B N V"]:
    """Return which words would end an n-gram that was said before."""
    b, n, t = said.shape
    banned = torch.zeros(b, n, size, dtype=torch.bool, device=said.device)
    grams = said.unfold(2, order, 1)  # (B, N, t - order + 1, order)
    beginning = said[..., t - order + 1 :].unsqueeze(2)
    same = (grams[..., :-1] == beginning).all(-1)
    ends = grams[..., -1]
    counts = torch.zeros(b, n, size, dtype=torch.long, device=said.device)
    return banned | (counts.scatter_add_(2, ends, same.long()) > 0)
