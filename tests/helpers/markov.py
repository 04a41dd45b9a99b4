"""Markov chains as models whose sequences can be enumerated, and slow references for searches."""

import itertools
from typing import NamedTuple

import torch

from bua.decode import SpecialTokens

#: BOS and EOS are the same token, as in self-critical.pytorch; there is no unknown word.
SPECIAL = SpecialTokens(padding=-1, bos=0, eos=0, unknown=-1)
BOS = EOS = 0

#: Number of different steps of a chain; later steps are like the last. If all steps were the same, sequences
#: with the same pairs of words would tie.
STEPS = 7


class ChainState(NamedTuple):
    """State of a chain: all words so far, which reveals states in the wrong order."""

    history: torch.Tensor


def chain(images: int, words: int, seed: int):
    """Return the log-probabilities (B, T, V, V) of the next word given the last, and a step function."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(images, STEPS, words, words, generator=generator).mul(2).log_softmax(-1)
    return table, make_step(table)


def constant_chain(table):
    """Return a chain (B, T, V, V) whose steps are all the same, from (B, V, V)."""
    return table.unsqueeze(1).expand(-1, STEPS, -1, -1)


def transitions(table, t: int):
    """Return the log-probabilities (V, V) of one chain (T, V, V) at a step."""
    return table[min(t, STEPS - 1)]


def make_step(table):
    """Return the step function of a chain; every word attends to the word before it."""

    def step(last, state):
        t = state.history.shape[2]
        rows = torch.stack([transitions(table[b], t)[last[b]] for b in range(len(table))])
        weights = torch.nn.functional.one_hot(last, table.shape[2]).float()
        return rows.clone(), weights, ChainState(torch.cat([state.history, last.unsqueeze(2)], 2))

    return step


def init_state(images: int) -> ChainState:
    """Return the state before the first word."""
    return ChainState(torch.zeros(images, 1, 0, dtype=torch.long))


def run(search, step, images: int, **options):
    """Run a search from the initial state."""
    return search(step, init_state(images), images=images, special=SPECIAL, **options)


def all_sequences(words: int, max_length: int):
    """Yield all sequences that end with EOS, or have the maximal length without it."""
    for length in range(1, max_length + 1):
        for body in itertools.product(range(1, words), repeat=length - 1):
            yield (*body, EOS)
    yield from itertools.product(range(1, words), repeat=max_length)


def log_prob(table, sequence) -> float:
    """Return the log-probability of a sequence under one chain."""
    last, total = BOS, 0.0
    for t, word in enumerate(sequence):
        total += float(transitions(table, t)[last, word])
        last = word
    return total


def sequences(result, b: int) -> list[tuple[int, ...]]:
    """Return the sequences of an image, without padding and without empty ones."""
    unpadded = [tuple(w for w in words if w != -1) for words in result.words[b].tolist()]
    scores = result.score[b].tolist()
    return [words for words, score in zip(unpadded, scores, strict=True) if score > -1e30]


def is_forbidden(rules, history: tuple[int, ...], word: int, last: bool = False) -> bool:
    """Return whether a word may not come next, one rule after another; the last word ends the caption."""
    if word == EOS:
        return len(history) < rules.min_length or bool(history and history[-1] in rules.bad_endings)
    if word in rules.bad_words or (last and word in rules.bad_endings):
        return True
    if not rules.allow_repeat and history and history[-1] == word:
        return True
    if rules.repeatable_words is not None and word in history and word not in rules.repeatable_words:
        return True
    n = rules.no_repeat_ngram_size
    if n:
        words = (*history, word)
        ngrams = [words[i : i + n] for i in range(len(words) - n + 1)]
        return len(words) >= n and ngrams[-1] in ngrams[:-1]
    return False


def continuations(table, search, history: tuple[int, ...]) -> list[tuple[int, float]]:
    """Return the words that may come next with their log-probabilities; only EOS if none may."""
    row = transitions(table, len(history))[history[-1] if history else BOS].tolist()
    last = len(history) + 1 == search.max_length
    allowed = [(w, p) for w, p in enumerate(row) if not is_forbidden(search.rules, history, w, last)]
    return allowed or [(EOS, row[EOS])]
