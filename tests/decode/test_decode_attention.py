"""Attention and log-probabilities of every search belong to the returned words."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.decode import BeamSearch, DiverseBeamSearch, Sampling, build_automaton
from tests.helpers.markov import BOS, chain, run, sequences, transitions
from tests.helpers.searches import constraints, finished_rules, seeds

IMAGES = 2
beam_size = st.integers(1, 4)
SEARCHES = {
    "beam": st.builds(BeamSearch, beam_size, st.just(5), finished_rules),
    "diverse": st.builds(
        lambda size, groups, finished: DiverseBeamSearch(size * groups, groups, 0.5, 5, finished),
        st.integers(1, 2),
        st.integers(1, 3),
        finished_rules,
    ),
    "constrained": st.builds(BeamSearch, beam_size, st.just(5), finished_rules),
    "sampling": st.builds(Sampling, beam_size, st.just(5)),
}


def test_all_kinds_of_searches_are_tested() -> None:
    assert len(SEARCHES) == 4


@pytest.mark.parametrize("name", SEARCHES)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=seeds)
def test_attention_and_log_probabilities_are_those_of_the_returned_words(name: str, data, seed) -> None:
    """In these chains every word attends to the word before it."""
    table, step = chain(IMAGES, 5, seed)
    options = {}
    if name == "constrained":
        drawn = data.draw(st.lists(constraints, min_size=IMAGES, max_size=IMAGES))
        options = {"automaton": build_automaton(drawn)}
    search = data.draw(SEARCHES[name])
    result = run(search, step, IMAGES, **options)
    for b in range(IMAGES):
        assert sequences(result, b)
        for n, t in itertools.product(range(result.words.shape[1]), range(result.words.shape[2])):
            word, last = int(result.words[b, n, t]), int(result.words[b, n, t - 1]) if t else BOS
            if word == -1:
                assert not result.weights[b, n, t].any()
                assert not result.word_log_prob[b, n, t]
                continue
            assert result.weights[b, n, t].nonzero().flatten().tolist() == [last]
            expected = float(transitions(table[b], t)[last, word])
            assert float(result.word_log_prob[b, n, t]) == pytest.approx(expected, abs=1e-4)
