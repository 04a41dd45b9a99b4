"""A search in a line."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.decode import BeamSearch, DiverseBeamSearch, LengthPenalty, Rules, Sampling, search_signature

RULES = st.builds(
    Rules,
    bad_words=st.lists(st.integers(4, 9), max_size=2).map(tuple),
    min_length=st.integers(0, 2),
    allow_repeat=st.booleans(),
    repeatable_words=st.none() | st.lists(st.integers(4, 9), max_size=2).map(tuple),
    bad_endings=st.lists(st.integers(4, 9), max_size=2).map(tuple),
)
LENGTHS = st.builds(LengthPenalty, rule=st.sampled_from(["none", "average", "wu"]), alpha=st.floats(0.5, 2))
SEARCHES = st.one_of(
    st.builds(
        Sampling,
        width=st.integers(1, 3),
        temperature=st.sampled_from([0.5, 1.0]),
        top_k=st.none() | st.integers(1, 3),
        top_p=st.none() | st.sampled_from([0.5, 0.9]),
        rules=RULES,
    ),
    st.builds(
        BeamSearch,
        width=st.integers(1, 3),
        finished=st.sampled_from(["retire", "compete"]),
        rules=RULES,
        length=LENGTHS,
    ),
    st.builds(DiverseBeamSearch, width=st.just(6), num_groups=st.sampled_from([2, 3]), rules=RULES),
)


@given(one=SEARCHES, other=SEARCHES)
def test_two_searches_are_called_the_same_only_if_they_are(one, other) -> None:
    assert (search_signature(one) == search_signature(other)) == (one == other)


@pytest.mark.parametrize("kind", [Sampling, BeamSearch, DiverseBeamSearch])
def test_every_option_that_is_changed_is_told(kind) -> None:
    changed = {
        "beam_size": 12,
        "max_length": 7,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.5,
        "finished": "compete",
    }
    changed |= {
        "num_groups": 2,
        "strength": 0.25,
        "rules": Rules(no_repeat_ngram_size=3),
        "length": LengthPenalty("wu"),
    }
    for field in dataclasses.fields(kind):
        options = {field.name: changed[field.name]}
        told = {"rules": "rules.no_repeat_ngram_size=3", "length": "length.rule=wu"}
        line = search_signature(kind(**options))
        assert told.get(field.name, f"{field.name}={changed[field.name]}") in line
