"""Beam search on Markov chains whose best sequences are known by enumeration."""

import itertools
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.decode import beam, greedy

BOS = EOS = 0


class Last(NamedTuple):
    """The state of a chain: how many words were said, to see that states follow their words."""

    said: torch.Tensor


def chain(images: int, words: int, seed: int):
    """Return log-probabilities (B, V, V) of the next word given the last, and a step function."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(images, words, words, generator=generator).mul(2).log_softmax(-1)

    def step(last, state):
        rows = torch.stack([table[b][last[b]] for b in range(images)])
        weights = torch.nn.functional.one_hot(last, words).float()
        return rows.clone(), weights, Last(state.said + 1)

    return table, step


def run(method, step, images: int, **options):
    state = Last(torch.zeros(images, 1))
    return method(step, state, images=images, bos=BOS, eos=EOS, padding=-1, **options)


def every_sequence(words: int, longest: int):
    """Yield all sequences that end with EOS, or are as long as may be without it."""
    for length in range(1, longest + 1):
        for body in itertools.product(range(1, words), repeat=length - 1):
            yield (*body, EOS)
    yield from itertools.product(range(1, words), repeat=longest)


def log_prob(table, sequence) -> float:
    last, total = BOS, 0.0
    for word in sequence:
        total += float(table[last, word])
        last = word
    return total


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), words=st.integers(2, 4), longest=st.integers(1, 4))
def test_a_wide_beam_finds_what_enumeration_finds(seed: int, words: int, longest: int) -> None:
    table, step = chain(2, words, seed)
    every = list(every_sequence(words, longest))
    found = run(beam, step, 2, width=len(every), max_words=longest)
    for b in range(2):
        best = sorted(((log_prob(table[b], s), s) for s in every), reverse=True)
        assert found.log_prob[b].tolist() == pytest.approx([score for score, _ in best], abs=1e-4)
        top = [w for w in found.words[b, 0].tolist() if w != -1]
        assert log_prob(table[b], top) == pytest.approx(best[0][0], abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 6), longest=st.integers(1, 6))
def test_log_probabilities_are_those_of_the_words_returned(seed: int, width: int, longest: int) -> None:
    table, step = chain(3, 5, seed)
    found = run(beam, step, 3, width=width, max_words=longest)
    for b in range(3):
        for n in range(width):
            words = [w for w in found.words[b, n].tolist() if w != -1]
            if found.log_prob[b, n].isfinite():
                assert log_prob(table[b], words) == pytest.approx(float(found.log_prob[b, n]), abs=1e-4)
                assert EOS not in words[:-1]
                assert words
            else:
                assert not words
        assert found.log_prob[b].tolist() == sorted(found.log_prob[b].tolist(), reverse=True)
        assert found.log_prob[b, 0].isfinite()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 4))
def test_weights_follow_the_words_that_were_returned(seed: int, width: int) -> None:
    _, step = chain(2, 5, seed)
    found = run(beam, step, 2, width=width, max_words=5)
    for b, n in itertools.product(range(2), range(width)):
        last = BOS
        for t, word in enumerate(found.words[b, n].tolist()):
            if word == -1:
                assert not found.weights[b, n, t].any()
            else:
                assert int(found.weights[b, n, t].argmax()) == last
            last = word


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_images_of_a_batch_do_not_influence_one_another(seed: int) -> None:
    table, step = chain(3, 5, seed)
    together = run(beam, step, 3, width=3, max_words=5)
    for b in range(3):

        def alone(last, state, b=b):
            return table[b][last[0]].unsqueeze(0).clone(), torch.ones(1, last.shape[1], 1), state

        one = run(beam, alone, 1, width=3, max_words=5)
        steps = one.words.shape[2]
        assert together.words[b, :, :steps].tolist() == one.words[0].tolist()
        assert (together.words[b, :, steps:] == -1).all()


def test_greedy_takes_the_most_likely_word_each_time() -> None:
    table, step = chain(4, 6, 3)
    found = run(greedy, step, 4, max_words=7)
    for b in range(4):
        last, expected = BOS, []
        while len(expected) < 7:
            last = int(table[b, last].argmax())
            expected.append(last)
            if last == EOS:
                break
        assert [w for w in found.words[b, 0].tolist() if w != -1] == expected


def test_banned_words_are_never_said() -> None:
    _, step = chain(5, 6, 1)
    found = run(beam, step, 5, width=4, max_words=6, banned=(2, 3))
    assert not set(found.words.flatten().tolist()) & {2, 3}


def test_a_beam_wider_than_the_vocabulary_returns_what_there_is() -> None:
    _, step = chain(1, 2, 0)
    found = run(beam, step, 1, width=9, max_words=2)
    assert int(found.log_prob.isfinite().sum()) == 3  # EOS; word EOS; word word


def test_the_length_limit_returns_the_unfinished() -> None:
    def never(last, state):
        rows = torch.full((*last.shape, 3), -1.0)
        rows[..., EOS] = -torch.inf
        return rows, torch.ones(*last.shape, 1), state

    found = run(beam, never, 1, width=2, max_words=4)
    assert found.words.shape == (1, 2, 4)
    assert (found.words > 0).all()
