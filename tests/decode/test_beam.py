"""Beam search against enumeration, and against a slow beam search with lists."""

import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bua.decode import BeamSearch, DiverseBeamSearch, LengthPenalty, Rules, Sampling, greedy
from tests.helpers.markov import (
    BOS,
    EOS,
    chain,
    continuations,
    every_sequence,
    log_prob,
    now,
    run,
    same,
    sequences,
    start,
    stepping,
)

seeds = st.integers(0, 10**6)
finishing = st.sampled_from(["retire", "compete"])
penalties = st.builds(LengthPenalty, st.sampled_from(["none", "average", "wu"]), st.sampled_from([0.5, 1.0]))
some_words = st.lists(st.integers(1, 4), max_size=2)
rules = st.builds(
    Rules,
    bad_words=some_words,
    min_length=st.integers(0, 3),
    allow_repeat=st.booleans(),
    repeatable_words=st.none() | some_words,
    no_repeat_ngram_size=st.sampled_from([0, 1, 2, 3]),
    bad_endings=some_words,
)


def slow_steps(table, search: BeamSearch):
    """Yield (log-probability, words) of what is live and of what is collected after each step."""
    live, collected = [(0.0, ())], []
    for t in range(search.max_length):
        longer = []
        for total, said in live:
            if said and said[-1] == EOS:
                longer.append((total, said))
                continue
            longer += [(total + p, (*said, w)) for w, p in continuations(table, search, said)]
        live = sorted(longer, key=lambda one: -one[0])[: search.beam_size]
        if search.finished == "retire":
            over = [one for one in live if one[1][-1] == EOS or t + 1 == search.max_length]
            collected += over
            live = [one for one in live if one not in over]
        yield live, collected


def best_of(collected, search: BeamSearch):
    """Return (score, words) of the best sequences, best first."""
    scored = [(total / search.length(len(said)), said) for total, said in collected]
    return sorted(scored, key=lambda one: -one[0])[: search.beam_size]


def slow_beam(table, search: BeamSearch):
    """Return (score, words) of the best sequences of one chain, best first."""
    *_, (live, collected) = slow_steps(table, search)
    return best_of(collected if search.finished == "retire" else live, search)


def steps_needed(table, search: BeamSearch) -> int:
    """Return after how many steps nothing that may still come can change the result."""
    for step, (live, collected) in enumerate(slow_steps(table, search), start=1):
        if search.finished == "compete":
            over = all(said[-1] == EOS for _, said in live)
        else:
            worst = best_of(collected, search)[search.beam_size - 1 :]
            best = max((total for total, _ in live), default=-torch.inf) / search.length(search.max_length)
            over = not live or (bool(worst) and best <= worst[0][0])
        if over:
            return step
    return search.max_length


@settings(max_examples=150, deadline=None)
@given(
    seed=seeds,
    width=st.integers(1, 5),
    longest=st.integers(1, 6),
    finished=finishing,
    rules=rules,
    length=penalties,
)
def test_beam_search_equals_a_slow_one_with_lists(seed, width, longest, finished, rules, length) -> None:
    table, step = chain(2, 5, seed)
    search = BeamSearch(width, longest, finished, rules, length)
    found = run(search, step, 2)
    for b in range(2):
        slow = slow_beam(table[b], search)
        assert sequences(found, b) == [said for _, said in slow]
        assert found.score[b, : len(slow)].tolist() == pytest.approx([score for score, _ in slow], abs=1e-4)
        assert (found.score[b, len(slow) :] == -torch.inf).all()


@settings(max_examples=60, deadline=None)
@given(seed=seeds, words=st.integers(2, 4), longest=st.integers(1, 4), finished=finishing, length=penalties)
def test_a_wide_beam_finds_what_enumeration_finds(seed, words, longest, finished, length) -> None:
    table, step = chain(2, words, seed)
    every = list(every_sequence(words, longest))
    found = run(BeamSearch(len(every), longest, finished, length=length), step, 2)
    for b in range(2):
        best = sorted((log_prob(table[b], s) / length(len(s)) for s in every), reverse=True)
        assert found.score[b].tolist() == pytest.approx(best, abs=1e-4)
        assert sorted(sequences(found, b)) == sorted(every)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, width=st.integers(1, 6), longest=st.integers(1, 6), finished=finishing, rules=rules)
def test_log_probabilities_are_those_of_the_words_returned(seed, width, longest, finished, rules) -> None:
    table, step = chain(3, 5, seed)
    found = run(BeamSearch(width, longest, finished, rules), step, 3)
    assert found.score[:, 0].isfinite().all()
    torch.testing.assert_close(found.log_prob, found.score)
    for b, n in itertools.product(range(3), range(width)):
        words = [w for w in found.words[b, n].tolist() if w != -1]
        if found.score[b, n] == -torch.inf:
            assert not words
            continue
        assert words
        assert EOS not in words[:-1]
        assert log_prob(table[b], words) == pytest.approx(float(found.log_prob[b, n]), abs=1e-4)
        pairs = itertools.pairwise([BOS, *words])
        each = [float(now(table[b], t)[u, w]) for t, (u, w) in enumerate(pairs)]
        assert found.word_log_prob[b, n, : len(words)].tolist() == pytest.approx(each, abs=1e-4)
        assert not found.word_log_prob[b, n, len(words) :].any()


@settings(max_examples=40, deadline=None)
@given(seed=seeds, finished=finishing)
def test_states_follow_the_words_that_they_belong_to(seed, finished) -> None:
    table, _ = chain(2, 5, seed)
    plain = stepping(table)
    seen = []

    def step(last, state):
        seen.append((last, state.said))
        return plain(last, state)

    run(BeamSearch(3, 5, finished), step, 2)
    for (before, said), (_, after) in itertools.pairwise(seen):
        # every state of the next step is that of a place of this one, with its word
        there = {
            (*s, w)
            for b in range(2)
            for s, w in zip(said[b].tolist(), before[b].tolist(), strict=True)
            for s in [tuple(s)]
        }
        assert {tuple(s) for b in range(2) for s in after[b].tolist()} <= there


@settings(max_examples=30, deadline=None)
@given(seed=seeds, finished=finishing, rules=rules)
def test_images_of_a_batch_do_not_influence_one_another(seed, finished, rules) -> None:
    table, step = chain(3, 5, seed)
    search = BeamSearch(3, 5, finished, rules)
    together = run(search, step, 3)
    for b in range(3):
        one = run(search, stepping(table[b : b + 1]), 1)
        assert sequences(together, b) == sequences(one, 0)
        torch.testing.assert_close(together.score[b], one.score[0])


def test_greedy_takes_the_most_likely_word_each_time() -> None:
    table, step = chain(4, 6, 3)
    found = run(greedy(7), step, 4)
    for b in range(4):
        last, expected = BOS, []
        while len(expected) < 7:
            last = int(now(table[b], len(expected))[last].argmax())
            expected.append(last)
            if last == EOS:
                break
        assert sequences(found, b) == [tuple(expected)]


def test_a_beam_wider_than_the_vocabulary_returns_what_there_is() -> None:
    _, step = chain(1, 2, 0)
    found = run(BeamSearch(9, 2), step, 1)
    assert sorted(sequences(found, 0)) == [(0,), (1, 0), (1, 1)]
    assert found.words.shape == (1, 9, 2)


def calls(table, search: BeamSearch) -> int:
    """Return how many steps a search takes."""
    count, plain = 0, stepping(table)

    def step(last, state):
        nonlocal count
        count += 1
        return plain(last, state)

    run(search, step, len(table))
    return count


@settings(max_examples=40, deadline=None)
@given(seed=seeds, width=st.integers(1, 4), finished=finishing, length=penalties)
@example(seed=131081, width=4, finished="retire", length=LengthPenalty("average"))
def test_a_search_stops_early_and_loses_nothing_by_it(seed, width, finished, length) -> None:
    table, step = chain(2, 4, seed)
    table[..., EOS] += 3
    table = table.log_softmax(-1)
    search = BeamSearch(width, 40, finished, length=length)
    found = run(search, stepping(table), 2)
    for b in range(2):  # long sequences of the same pairs tie: their scores are compared
        slow = [score for score, _ in slow_beam(table[b], search)]
        assert found.score[b, : len(slow)].tolist() == pytest.approx(slow, abs=1e-4)
    assert calls(table, search) == max(steps_needed(table[b], search) for b in range(2))


@pytest.mark.parametrize("finished", ["retire", "compete"])
@pytest.mark.parametrize("rule", ["none", "average", "wu"])
def test_a_search_of_short_sequences_takes_few_steps(finished, rule) -> None:
    table, _ = chain(2, 4, 0)
    table[..., EOS] += 3
    search = BeamSearch(3, 40, finished, length=LengthPenalty(rule, 0.5))
    assert calls(table.log_softmax(-1), search) < 10


def test_a_certain_end_takes_one_step() -> None:
    table = torch.full((1, 3, 3), -30.0)
    table[..., EOS] = -1e-9
    assert calls(same(table), BeamSearch(1, 20)) == 1
    assert calls(same(table), BeamSearch(1, 20, "compete")) == 1


@pytest.mark.parametrize("finished", ["retire", "compete"])
def test_the_length_limit_returns_the_unfinished(finished) -> None:
    table = torch.full((1, 3, 3), -1.0)
    table[..., EOS] = -torch.inf
    found = run(BeamSearch(2, 4, finished), stepping(same(table)), 1)
    assert found.words.shape == (1, 2, 4)
    assert (found.words > 0).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
@pytest.mark.parametrize(
    "search",
    [BeamSearch(4, 5), BeamSearch(4, 5, "compete"), DiverseBeamSearch(4, 2, max_length=5), Sampling(50, 5)],
    ids=str,
)
def test_log_probabilities_that_are_not_numbers_are_refused(search, value) -> None:
    table, _ = chain(2, 4, 0)
    table[1, :, 2] = value
    with pytest.raises(ValueError, match="not numbers"):
        run(search, stepping(table), 2)


def test_the_words_of_a_competing_search_end_once() -> None:
    table, step = chain(3, 4, 5)
    found = run(BeamSearch(4, 12, "compete"), step, 3)
    for b in range(3):
        assert all(said.count(EOS) <= 1 for said in sequences(found, b))
        assert len(set(sequences(found, b))) == len(sequences(found, b))


@pytest.mark.parametrize(
    "wrong", [{"beam_size": 0}, {"max_length": 0}, {"finished": "never"}], ids=lambda w: str(w)
)
def test_impossible_searches_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="must be|at least"):
        BeamSearch(**wrong)


def test_length_penalties_are_those_of_the_formulas() -> None:
    assert LengthPenalty()(7) == 1
    assert LengthPenalty("average")(7) == 7
    assert LengthPenalty("wu", 0.6)(7) == pytest.approx((12 / 6) ** 0.6)
    with pytest.raises(ValueError, match="average, wu"):
        LengthPenalty("mean")
    with pytest.raises(ValueError, match="a number of at least 0 and at most 10"):
        LengthPenalty("wu", -1)


def test_start_has_one_sequence_an_image() -> None:
    assert start(3).said.shape == (3, 1, 0)
