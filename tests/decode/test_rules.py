"""Rules ban exactly the words that they should, and never all of them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.decode import BeamSearch, DiverseBeamSearch, Rules, Sampling, SpecialTokens
from bua.text.vocabulary import BOS, EOS, PADDING, UNKNOWN
from tests.helpers.markov import SPECIAL, chain, is_forbidden, run, sequences
from tests.helpers.searches import rules

words = st.lists(st.integers(1, 4), max_size=6)


@settings(max_examples=200, deadline=None)
@given(
    rules=rules,
    histories=st.lists(words, min_size=1, max_size=3).filter(lambda s: len({*map(len, s)}) == 1),
    last=st.booleans(),
)
def test_a_word_is_banned_if_and_only_if_a_rule_forbids_it(rules, histories, last) -> None:
    log_probs = torch.randn(1, len(histories), 5).log_softmax(-1)
    words_so_far = torch.tensor(histories, dtype=torch.long).view(1, len(histories), -1)
    allowed = rules.apply(log_probs, words_so_far, SPECIAL, last)
    for n, history in enumerate(histories):
        expected = [w for w in range(5) if not is_forbidden(rules, tuple(history), w, last)] or [0]
        assert [w for w in range(5) if allowed[0, n, w] > -torch.inf] == expected
        assert all(allowed[0, n, w] == log_probs[0, n, w] for w in expected)


def test_padding_bos_and_unknown_words_are_banned_by_default() -> None:
    log_probs, empty = torch.zeros(1, 1, 6), torch.zeros(1, 1, 0, dtype=torch.long)
    banned = Rules().apply(log_probs, empty, SpecialTokens())[0, 0] == -torch.inf
    assert banned.nonzero().flatten().tolist() == sorted([PADDING, BOS, UNKNOWN])
    allowed = Rules(allow_unknown=True).apply(log_probs, empty, SpecialTokens())[0, 0]
    assert allowed[UNKNOWN] == 0


def test_the_end_is_never_a_bad_word_whatever_its_index() -> None:
    special = SpecialTokens()._replace(eos=1000)
    assert Rules(bad_words=(int("1000"), 4))._word_indices("bad_words", 1001, special) == [4]
    allowed = Rules(bad_words=(int("1000"), 4)).apply(
        torch.zeros(1, 1, 1001), torch.zeros(1, 1, 0, dtype=torch.long), special
    )
    assert (allowed[0, 0, 1000], allowed[0, 0, 4]) == (0, -torch.inf)


def test_a_sequence_without_allowed_words_ends_even_if_the_model_forbids_it() -> None:
    log_probs = torch.full((1, 1, 5), -1.0)
    log_probs[..., EOS] = -torch.inf
    empty = torch.zeros(1, 1, 0, dtype=torch.long)
    allowed = Rules(bad_words=(4,)).apply(log_probs, empty, SpecialTokens())[0, 0]
    assert allowed.isfinite().nonzero().flatten().tolist() == [EOS]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rules=rules)
def test_a_search_always_returns_sequences(seed, rules) -> None:
    _, step = chain(2, 5, seed)
    result = run(BeamSearch(2, 6, rules=rules), step, 2)
    assert all(sequences(result, b) for b in range(2))


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
def test_no_caption_ends_with_a_bad_ending_at_the_length_limit(search) -> None:
    table, step = chain(8, 4, 0)
    table[..., SPECIAL.eos] -= 20  # captions reach the length limit
    result = run(replace(search, rules=Rules(bad_endings=(1, 2))), step, 8)
    last_words = {sequence[-1] for b in range(8) for sequence in sequences(result, b)}
    assert last_words - {SPECIAL.eos} == {3}


def test_words_become_indices_and_unknown_words_are_dropped() -> None:
    index = {"a": 4, "with": 5}.get
    rules = Rules(bad_words=("a", "zebra"), repeatable_words=("with",), bad_endings=["a", 9]).to_indices(
        index
    )
    assert (rules.bad_words, rules.repeatable_words, rules.bad_endings) == ((4,), (5,), (4, 9))
    assert Rules().to_indices(index).repeatable_words is None


def test_unknown_words_are_returned_by_rule() -> None:
    index = {"a": 4, "with": 5}.get
    rules = Rules(bad_words=("a", "zebra", 7), repeatable_words=("With",), bad_endings=["a", "of", "on"])
    assert rules.unknown_words(index) == {
        "bad_words": ["zebra"],
        "repeatable_words": ["With"],
        "bad_endings": ["of", "on"],
    }
    assert Rules(bad_words=("a",)).unknown_words(index) == {}
    assert rules.to_indices(index).unknown_words(index) == {}


@pytest.mark.parametrize(
    "options",
    [
        {"bad_words": "cat"},
        {"bad_endings": [["a"]]},
        {"repeatable_words": "a"},
        {"min_length": "two"},
        {"no_repeat_ngram_size": -1},
    ],
    ids=str,
)
def test_invalid_options_are_rejected(options) -> None:
    with pytest.raises(ValueError, match="must be"):
        Rules(**options)


@pytest.mark.parametrize("word", [-1, 5])
@pytest.mark.parametrize("name", ["bad_words", "bad_endings"])
def test_an_index_outside_the_vocabulary_is_rejected(name, word) -> None:
    log_probs, empty = torch.zeros(1, 1, 5), torch.zeros(1, 1, 0, dtype=torch.long)
    with pytest.raises(ValueError, match=f"{name} must be indices below the vocabulary size 5, got"):
        Rules(**{name: (word,)}).apply(log_probs, empty, SPECIAL, last=True)
