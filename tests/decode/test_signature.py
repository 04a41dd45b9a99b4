"""Signatures of searches."""

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
LENGTH_PENALTIES = st.builds(
    LengthPenalty, rule=st.sampled_from(["none", "average", "wu"]), alpha=st.floats(0.5, 2)
)
SEARCHES = st.one_of(
    st.builds(
        Sampling,
        num_samples=st.integers(1, 3),
        temperature=st.sampled_from([0.5, 1.0]),
        top_k=st.none() | st.integers(1, 3),
        top_p=st.none() | st.sampled_from([0.5, 0.9]),
        rules=RULES,
    ),
    st.builds(
        BeamSearch,
        beam_size=st.integers(1, 3),
        finished=st.sampled_from(["retire", "compete"]),
        rules=RULES,
        length_penalty=LENGTH_PENALTIES,
    ),
    st.builds(DiverseBeamSearch, beam_size=st.just(6), num_groups=st.sampled_from([2, 3]), rules=RULES),
)


@given(one=SEARCHES, other=SEARCHES)
def test_signatures_are_equal_if_and_only_if_searches_are(one, other) -> None:
    assert (search_signature(one) == search_signature(other)) == (one == other)


@pytest.mark.parametrize("kind", [Sampling, BeamSearch, DiverseBeamSearch])
def test_changed_options_are_listed(kind) -> None:
    changed = {
        "beam_size": 12,
        "num_samples": 3,
        "max_length": 7,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.5,
        "finished": "compete",
        "per_sequence": 3,
    }
    changed |= {
        "num_groups": 2,
        "diversity_penalty": 0.25,
        "rules": Rules(no_repeat_ngram_size=3),
        "length_penalty": LengthPenalty("wu"),
    }
    for field in dataclasses.fields(kind):
        options = {field.name: changed[field.name]}
        nested = {"rules": "rules.no_repeat_ngram_size=3", "length_penalty": "length_penalty.rule=wu"}
        expected = nested.get(field.name, f"{field.name}={changed[field.name]}")
        assert expected in search_signature(kind(**options))
