"""Where each word looked, and how likely it was, belong to that word: after every search."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.decode import BeamSearch, DiverseBeamSearch, Sampling, automaton
from tests.decode.test_automaton import constraints
from tests.decode.test_beam import finishing, seeds
from tests.helpers.markov import BOS, chain, now, run, sequences

IMAGES = 2
width = st.integers(1, 4)
SEARCHES = {
    "beam": st.builds(BeamSearch, width, st.just(5), finishing),
    "diverse": st.builds(
        lambda each, groups, finished: DiverseBeamSearch(each * groups, groups, 0.5, 5, finished),
        st.integers(1, 2),
        st.integers(1, 3),
        finishing,
    ),
    "constrained": st.builds(BeamSearch, width, st.just(5), finishing),
    "sampling": st.builds(Sampling, width, st.just(5)),
}


def test_every_search_is_tried() -> None:
    assert len(SEARCHES) == 4


@pytest.mark.parametrize("name", SEARCHES)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=seeds)
def test_looks_and_log_probabilities_are_those_of_the_words_returned(name: str, data, seed) -> None:
    """In these chains every word looks at the word before it."""
    table, step = chain(IMAGES, 5, seed)
    more = {}
    if name == "constrained":
        more = {"automaton": automaton(data.draw(st.lists(constraints, min_size=IMAGES, max_size=IMAGES)))}
    search = data.draw(SEARCHES[name])
    found = run(search, step, IMAGES, **more)
    for b in range(IMAGES):
        assert sequences(found, b)
        for n, t in itertools.product(range(found.words.shape[1]), range(found.words.shape[2])):
            word, last = int(found.words[b, n, t]), int(found.words[b, n, t - 1]) if t else BOS
            if word == -1:
                assert not found.weights[b, n, t].any()
                assert not found.word_log_prob[b, n, t]
                continue
            assert found.weights[b, n, t].nonzero().flatten().tolist() == [last]
            wanted = float(now(table[b], t)[last, word])
            assert float(found.word_log_prob[b, n, t]) == pytest.approx(wanted, abs=1e-4)
