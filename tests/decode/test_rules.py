"""Rules leave out exactly the words that they name, and never everything."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.decode import BeamSearch, DiverseBeamSearch, Rules, Sampling, SpecialTokens
from bua.text.vocabulary import BOS, EOS, PADDING, UNKNOWN
from tests.decode.test_beam import rules
from tests.helpers.markov import SPECIAL, chain, forbidden, run, sequences

words = st.lists(st.integers(1, 4), max_size=6)


@settings(max_examples=200, deadline=None)
@given(
    rules=rules,
    said=st.lists(words, min_size=1, max_size=3).filter(lambda s: len({*map(len, s)}) == 1),
    last=st.booleans(),
)
def test_a_word_is_left_out_where_a_rule_forbids_it(rules, said, last) -> None:
    log_probs = torch.randn(1, len(said), 5).log_softmax(-1)
    history = torch.tensor(said, dtype=torch.long).view(1, len(said), -1)
    allowed = rules.apply(log_probs, history, SPECIAL, last)
    for n, before in enumerate(said):
        free = [w for w in range(5) if not forbidden(rules, tuple(before), w, last)] or [0]
        assert [w for w in range(5) if allowed[0, n, w] > -torch.inf] == free
        assert all(allowed[0, n, w] == log_probs[0, n, w] for w in free)


def test_padding_beginning_and_unknown_words_are_never_said_unless_wanted() -> None:
    log_probs, nothing = torch.zeros(1, 1, 6), torch.zeros(1, 1, 0, dtype=torch.long)
    silent = Rules().apply(log_probs, nothing, SpecialTokens())[0, 0] == -torch.inf
    assert silent.nonzero().flatten().tolist() == sorted([PADDING, BOS, UNKNOWN])
    free = Rules(unknown=True).apply(log_probs, nothing, SpecialTokens())[0, 0]
    assert free[UNKNOWN] == 0


def test_what_is_stuck_ends_even_where_the_model_never_would() -> None:
    log_probs = torch.full((1, 1, 5), -1.0)
    log_probs[..., EOS] = -torch.inf
    end = Rules(bad_words=(4,)).apply(log_probs, torch.zeros(1, 1, 0, dtype=torch.long), SpecialTokens())[
        0, 0
    ]
    assert end.isfinite().nonzero().flatten().tolist() == [EOS]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rules=rules)
def test_a_search_never_returns_nothing(seed, rules) -> None:
    _, step = chain(2, 5, seed)
    found = run(BeamSearch(2, 6, rules=rules), step, 2)
    assert all(sequences(found, b) for b in range(2))


@pytest.mark.parametrize(
    "search",
    [
        BeamSearch(1, 3),
        BeamSearch(3, 3),
        BeamSearch(3, 3, "compete"),
        DiverseBeamSearch(4, 2, max_length=3),
        Sampling(20, 3),
        BeamSearch(2, 1),
    ],
    ids=str,
)
def test_no_caption_ends_with_a_banned_ending_though_the_length_limit_cuts_it(search) -> None:
    table, step = chain(8, 4, 0)
    table[..., SPECIAL.eos] -= 20  # captions are cut
    found = run(replace(search, rules=Rules(bad_endings=(1, 2))), step, 8)
    last = {said[-1] for b in range(8) for said in sequences(found, b)}
    assert last - {SPECIAL.eos} == {3}


def test_words_are_found_in_the_vocabulary_and_unheard_ones_forgotten() -> None:
    index = {"a": 4, "with": 5}.get
    found = Rules(bad_words=("a", "zebra"), repeatable_words=("with",), bad_endings=["a", 9]).indexed(index)
    assert (found.bad_words, found.repeatable_words, found.bad_endings) == ((4,), (5,), (4, 9))
    assert Rules().indexed(index).repeatable_words is None


def test_words_that_the_vocabulary_lacks_are_known_by_rule() -> None:
    index = {"a": 4, "with": 5}.get
    found = Rules(bad_words=("a", "zebra", 7), repeatable_words=("With",), bad_endings=["a", "of", "on"])
    assert found.unheard(index) == {
        "bad_words": ["zebra"],
        "repeatable_words": ["With"],
        "bad_endings": ["of", "on"],
    }
    assert Rules(bad_words=("a",)).unheard(index) == {}
    assert found.indexed(index).unheard(index) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"bad_words": "cat"},
        {"bad_endings": [["a"]]},
        {"repeatable_words": "a"},
        {"min_length": "two"},
        {"no_repeat_ngram_size": -1},
    ],
    ids=str,
)
def test_rules_that_mean_something_else_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="needed"):
        Rules(**wrong)


@pytest.mark.parametrize("word", [-1, 5])
@pytest.mark.parametrize("name", ["bad_words", "bad_endings"])
def test_an_index_of_a_rule_that_is_no_word_is_refused(name, word) -> None:
    log_probs, nothing = torch.zeros(1, 1, 5), torch.zeros(1, 1, 0, dtype=torch.long)
    with pytest.raises(ValueError, match=f"{name} are .*, of 5 words"):
        Rules(**{name: (word,)}).apply(log_probs, nothing, SPECIAL, last=True)
