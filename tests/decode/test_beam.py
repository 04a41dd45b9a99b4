"""Beam search against enumeration, and against a slow beam search over lists."""

import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bua.decode import BeamSearch, DiverseBeamSearch, LengthPenalty, Sampling, greedy
from tests.helpers.markov import (
    BOS,
    EOS,
    all_sequences,
    chain,
    constant_chain,
    continuations,
    init_state,
    log_prob,
    make_step,
    run,
    sequences,
    transitions,
)
from tests.helpers.searches import finished_rules, penalties, rules, seeds


def best_continuations(table, search: BeamSearch, total: float, sequence):
    """Return (log-probability, words) of the continuations of one sequence that may be kept."""
    longer = [(total + p, (*sequence, word)) for word, p in continuations(table, search, sequence)]
    return sorted(longer, key=lambda one: -one[0])[: search.per_sequence if sequence else None]


def slow_steps(table, search: BeamSearch):
    """Yield (log-probability, words) of the live and of the collected sequences after each step."""
    live, collected = [(0.0, ())], []
    for t in range(search.max_length):
        longer = []
        for total, sequence in live:
            if sequence and sequence[-1] == EOS:
                longer.append((total, sequence))
                continue
            longer += best_continuations(table, search, total, sequence)
        live = sorted(longer, key=lambda one: -one[0])[: search.beam_size]
        if search.finished == "retire":
            retired = [one for one in live if one[1][-1] == EOS or t + 1 == search.max_length]
            collected += retired
            live = [one for one in live if one not in retired]
        yield live, collected


def best_of(collected, search: BeamSearch):
    """Return (score, words) of the best sequences, best first."""
    scored = [(total / search.length_penalty(len(sequence)), sequence) for total, sequence in collected]
    return sorted(scored, key=lambda one: -one[0])[: search.beam_size]


def slow_beam(table, search: BeamSearch):
    """Return (score, words) of the best sequences of one chain, best first."""
    *_, (live, collected) = slow_steps(table, search)
    return best_of(collected if search.finished == "retire" else live, search)


def steps_needed(table, search: BeamSearch) -> int:
    """Return the number of steps after which further steps cannot change the result."""
    for step, (live, collected) in enumerate(slow_steps(table, search), start=1):
        if search.finished == "compete":
            done = all(sequence[-1] == EOS for _, sequence in live)
        else:
            worst = best_of(collected, search)[search.beam_size - 1 :]
            best = max((total for total, _ in live), default=-torch.inf) / search.length_penalty(
                search.max_length
            )
            done = not live or (bool(worst) and best <= worst[0][0])
        if done:
            return step
    return search.max_length


@settings(max_examples=150, deadline=None)
@given(
    seed=seeds,
    beam_size=st.integers(1, 5),
    max_length=st.integers(1, 6),
    finished=finished_rules,
    rules=rules,
    length_penalty=penalties,
    per_sequence=st.none() | st.integers(1, 3),
)
def test_beam_search_equals_a_slow_search_over_lists(
    seed, beam_size, max_length, finished, rules, length_penalty, per_sequence
) -> None:
    table, step = chain(2, 5, seed)
    search = BeamSearch(beam_size, max_length, finished, rules, length_penalty, per_sequence)
    result = run(search, step, 2)
    for b in range(2):
        slow = slow_beam(table[b], search)
        assert sequences(result, b) == [sequence for _, sequence in slow]
        assert result.score[b, : len(slow)].tolist() == pytest.approx([score for score, _ in slow], abs=1e-4)
        assert (result.score[b, len(slow) :] == -torch.inf).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    words=st.integers(2, 4),
    max_length=st.integers(1, 4),
    finished=finished_rules,
    length_penalty=penalties,
)
def test_a_wide_beam_finds_all_sequences(seed, words, max_length, finished, length_penalty) -> None:
    table, step = chain(2, words, seed)
    candidates = list(all_sequences(words, max_length))
    result = run(BeamSearch(len(candidates), max_length, finished, length_penalty=length_penalty), step, 2)
    for b in range(2):
        best = sorted((log_prob(table[b], s) / length_penalty(len(s)) for s in candidates), reverse=True)
        assert result.score[b].tolist() == pytest.approx(best, abs=1e-4)
        assert sorted(sequences(result, b)) == sorted(candidates)


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    beam_size=st.integers(1, 6),
    max_length=st.integers(1, 6),
    finished=finished_rules,
    rules=rules,
)
def test_log_probabilities_are_those_of_the_returned_words(
    seed, beam_size, max_length, finished, rules
) -> None:
    table, step = chain(3, 5, seed)
    result = run(BeamSearch(beam_size, max_length, finished, rules), step, 3)
    assert result.score[:, 0].isfinite().all()
    torch.testing.assert_close(result.log_prob, result.score)
    for b, n in itertools.product(range(3), range(beam_size)):
        words = [w for w in result.words[b, n].tolist() if w != -1]
        if result.score[b, n] == -torch.inf:
            assert not words
            continue
        assert words
        assert EOS not in words[:-1]
        assert log_prob(table[b], words) == pytest.approx(float(result.log_prob[b, n]), abs=1e-4)
        pairs = itertools.pairwise([BOS, *words])
        expected = [float(transitions(table[b], t)[u, w]) for t, (u, w) in enumerate(pairs)]
        assert result.word_log_prob[b, n, : len(words)].tolist() == pytest.approx(expected, abs=1e-4)
        assert not result.word_log_prob[b, n, len(words) :].any()


@settings(max_examples=40, deadline=None)
@given(seed=seeds, finished=finished_rules)
def test_states_are_reordered_with_their_sequences(seed, finished) -> None:
    table, _ = chain(2, 5, seed)
    chain_step = make_step(table)
    calls = []

    def step(last, state):
        calls.append((last, state.history))
        return chain_step(last, state)

    run(BeamSearch(3, 5, finished), step, 2)
    for (words, history), (_, next_history) in itertools.pairwise(calls):
        # every state of the next step is a state of this step with its word appended
        extended = {
            (*s, w) for b in range(2) for s, w in zip(history[b].tolist(), words[b].tolist(), strict=True)
        }
        assert {tuple(s) for b in range(2) for s in next_history[b].tolist()} <= extended


@settings(max_examples=30, deadline=None)
@given(seed=seeds, finished=finished_rules, rules=rules)
def test_images_of_a_batch_do_not_influence_one_another(seed, finished, rules) -> None:
    table, step = chain(3, 5, seed)
    search = BeamSearch(3, 5, finished, rules)
    batch = run(search, step, 3)
    for b in range(3):
        one = run(search, make_step(table[b : b + 1]), 1)
        assert sequences(batch, b) == sequences(one, 0)
        torch.testing.assert_close(batch.score[b], one.score[0])


def test_greedy_search_takes_the_most_likely_word_at_every_step() -> None:
    table, step = chain(4, 6, 3)
    result = run(greedy(7), step, 4)
    for b in range(4):
        last, expected = BOS, []
        while len(expected) < 7:
            last = int(transitions(table[b], len(expected))[last].argmax())
            expected.append(last)
            if last == EOS:
                break
        assert sequences(result, b) == [tuple(expected)]


def test_a_beam_wider_than_the_vocabulary_returns_all_sequences() -> None:
    _, step = chain(1, 2, 0)
    result = run(BeamSearch(9, 2), step, 1)
    assert sorted(sequences(result, 0)) == [(0,), (1, 0), (1, 1)]
    assert result.words.shape == (1, 9, 2)


def num_steps(table, search: BeamSearch) -> int:
    """Return the number of steps of a search."""
    count, chain_step = 0, make_step(table)

    def step(last, state):
        nonlocal count
        count += 1
        return chain_step(last, state)

    run(search, step, len(table))
    return count


@settings(max_examples=40, deadline=None)
@given(seed=seeds, beam_size=st.integers(1, 4), finished=finished_rules, length_penalty=penalties)
@example(seed=131081, beam_size=4, finished="retire", length_penalty=LengthPenalty("average"))
def test_a_search_stops_as_soon_as_its_result_is_final(seed, beam_size, finished, length_penalty) -> None:
    table, step = chain(2, 4, seed)
    table[..., EOS] += 3
    table = table.log_softmax(-1)
    search = BeamSearch(beam_size, 40, finished, length_penalty=length_penalty)
    result = run(search, make_step(table), 2)
    for b in range(2):  # long sequences with the same pairs of words tie, so only scores are compared
        slow = [score for score, _ in slow_beam(table[b], search)]
        assert result.score[b, : len(slow)].tolist() == pytest.approx(slow, abs=1e-4)
    assert num_steps(table, search) == max(steps_needed(table[b], search) for b in range(2))


@pytest.mark.parametrize("finished", ["retire", "compete"])
@pytest.mark.parametrize("rule", ["none", "average", "wu"])
def test_a_search_of_short_sequences_takes_few_steps(finished, rule) -> None:
    table, _ = chain(2, 4, 0)
    table[..., EOS] += 3
    search = BeamSearch(3, 40, finished, length_penalty=LengthPenalty(rule, 0.5))
    assert num_steps(table.log_softmax(-1), search) < 10


def test_a_certain_end_takes_one_step() -> None:
    table = torch.full((1, 3, 3), -30.0)
    table[..., EOS] = -1e-9
    assert num_steps(constant_chain(table), BeamSearch(1, 20)) == 1
    assert num_steps(constant_chain(table), BeamSearch(1, 20, "compete")) == 1


def test_a_search_without_live_sequences_ends() -> None:
    """Although fewer sequences have been collected than the beam has slots."""
    table = torch.full((1, 3, 3), -torch.inf)
    table[..., EOS] = 0
    assert num_steps(constant_chain(table), BeamSearch(2, 20)) == 1


@pytest.mark.parametrize("finished", ["retire", "compete"])
def test_unfinished_sequences_are_returned_at_the_length_limit(finished) -> None:
    table = torch.full((1, 3, 3), -1.0)
    table[..., EOS] = -torch.inf
    result = run(BeamSearch(2, 4, finished), make_step(constant_chain(table)), 1)
    assert result.words.shape == (1, 2, 4)
    assert (result.words > 0).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
@pytest.mark.parametrize(
    "search",
    [BeamSearch(4, 5), BeamSearch(4, 5, "compete"), DiverseBeamSearch(4, 2, max_length=5), Sampling(50, 5)],
    ids=str,
)
def test_invalid_log_probabilities_are_rejected(search, value) -> None:
    table, _ = chain(2, 4, 0)
    table[1, :, 2] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        run(search, make_step(table), 2)


def test_sequences_that_compete_end_once() -> None:
    table, step = chain(3, 4, 5)
    result = run(BeamSearch(4, 12, "compete"), step, 3)
    for b in range(3):
        assert all(sequence.count(EOS) <= 1 for sequence in sequences(result, b))
        assert len(set(sequences(result, b))) == len(sequences(result, b))


@pytest.mark.parametrize("options", [{"beam_size": 0}, {"max_length": 0}, {"finished": "never"}], ids=str)
def test_invalid_options_are_rejected(options) -> None:
    with pytest.raises(ValueError, match="must be"):
        BeamSearch(**options)


def test_length_penalties_follow_their_formulas() -> None:
    assert LengthPenalty()(7) == 1
    assert LengthPenalty("average")(7) == 7
    assert LengthPenalty("wu", 0.6)(7) == pytest.approx((12 / 6) ** 0.6)
    with pytest.raises(ValueError, match="must be one of none, average, wu"):
        LengthPenalty("mean")
    with pytest.raises(ValueError, match="must be a number of at least 0 and at most 10"):
        LengthPenalty("wu", -1)


def test_the_initial_state_has_one_sequence_per_image() -> None:
    assert init_state(3).history.shape == (3, 1, 0)
