"""Markov chains as models, and everything that can be said under them."""

import itertools
from typing import NamedTuple

import torch

from bua.decode import SpecialTokens

#: BOS and EOS are one word, as in self-critical.pytorch; there is no unknown word.
SPECIAL = SpecialTokens(padding=-1, bos=0, eos=0, unknown=-1)
BOS = EOS = 0


class Last(NamedTuple):
    """The state of a chain: all words so far, so that a wrong order of states is seen."""

    said: torch.Tensor


#: Chains change from step to step, and go on with the last: otherwise sequences of the same pairs tie.
STEPS = 7


def chain(images: int, words: int, seed: int):
    """Return log-probabilities (B, T, V, V) of the next word given the last, and a step function."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(images, STEPS, words, words, generator=generator).mul(2).log_softmax(-1)
    return table, stepping(table)


def same(table):
    """Return a chain (B, T, V, V) that does not change, from (B, V, V)."""
    return table.unsqueeze(1).expand(-1, STEPS, -1, -1)


def now(table, t: int):
    """Return what one chain gives at a step."""
    return table[min(t, STEPS - 1)]


def stepping(table):
    """Return the step function of a chain; its state must follow its words."""

    def step(last, state):
        t = state.said.shape[2]
        rows = torch.stack([now(table[b], t)[last[b]] for b in range(len(table))])
        weights = torch.nn.functional.one_hot(last, table.shape[2]).float()
        return rows.clone(), weights, Last(torch.cat([state.said, last.unsqueeze(2)], 2))

    return step


def start(images: int) -> Last:
    """Return the state before the first word."""
    return Last(torch.zeros(images, 1, 0, dtype=torch.long))


def run(search, step, images: int, **options):
    """Search from the beginning."""
    return search(step, start(images), images=images, special=SPECIAL, **options)


def every_sequence(words: int, longest: int):
    """Yield all sequences that end with EOS, or are as long as may be without it."""
    for length in range(1, longest + 1):
        for body in itertools.product(range(1, words), repeat=length - 1):
            yield (*body, EOS)
    yield from itertools.product(range(1, words), repeat=longest)


def log_prob(table, sequence) -> float:
    """Return the log-probability of a sequence under one chain."""
    last, total = BOS, 0.0
    for t, word in enumerate(sequence):
        total += float(now(table, t)[last, word])
        last = word
    return total


def sequences(found, b: int) -> list[tuple[int, ...]]:
    """Return the sequences found for an image, without padding and without empty ones."""
    every = [tuple(w for w in words if w != -1) for words in found.words[b].tolist()]
    return [words for words, score in zip(every, found.score[b].tolist(), strict=True) if score > -1e30]


def forbidden(rules, said: tuple[int, ...], word: int, last: bool = False) -> bool:
    """Say whether a word may not come next, one rule after the other; the last one ends the caption."""
    if word == EOS:
        return len(said) < rules.min_length or bool(said and said[-1] in rules.bad_endings)
    if word in rules.bad_words or (last and word in rules.bad_endings):
        return True
    if not rules.allow_repeat and said and said[-1] == word:
        return True
    if rules.repeatable_words is not None and word in said and word not in rules.repeatable_words:
        return True
    if rules.no_repeat_ngram_size:
        every = (*said, word)
        grams = [
            every[i : i + rules.no_repeat_ngram_size]
            for i in range(len(every) - rules.no_repeat_ngram_size + 1)
        ]
        return len(every) >= rules.no_repeat_ngram_size and grams[-1] in grams[:-1]
    return False


def continuations(table, search, said: tuple[int, ...]) -> list[tuple[int, float]]:
    """Return the words that may come next with their log-probabilities; the end where none may."""
    row = now(table, len(said))[said[-1] if said else BOS].tolist()
    last = len(said) + 1 == search.max_length
    free = [(w, p) for w, p in enumerate(row) if not forbidden(search.rules, said, w, last)]
    return free or [(EOS, row[EOS])]
