"""Hypothesis strategies for options of searches, over chains of five words."""

from hypothesis import strategies as st

from bua.decode import LengthPenalty, Rules

seeds = st.integers(0, 10**6)
finished_rules = st.sampled_from(["retire", "compete"])
penalties = st.builds(LengthPenalty, st.sampled_from(["none", "average", "wu"]), st.sampled_from([0.5, 1.0]))

_words = st.lists(st.integers(1, 4), max_size=2)
rules = st.builds(
    Rules,
    bad_words=_words,
    min_length=st.integers(0, 3),
    allow_repeat=st.booleans(),
    repeatable_words=st.none() | _words,
    no_repeat_ngram_size=st.sampled_from([0, 1, 2, 3]),
    bad_endings=_words,
)

_phrase = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
#: Constraints of one image.
constraints = st.lists(st.lists(_phrase, min_size=1, max_size=2), max_size=3)
