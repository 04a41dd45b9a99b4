"""Constrained beam search against enumeration, and against a slow search with a list for each state."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.decode import BeamSearch, Rules, build_automaton
from tests.helpers.markov import (
    EOS,
    all_sequences,
    chain,
    continuations,
    log_prob,
    make_step,
    run,
    sequences,
)
from tests.helpers.searches import constraints, seeds


def contains(sequence: tuple[int, ...], phrases) -> bool:
    return any(sequence[n : n + len(p)] == p for p in phrases for n in range(len(sequence)))


def num_satisfied(sequence: tuple[int, ...], image, required: int) -> int:
    return min(sum(contains(sequence, phrases) for phrases in image), required)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, images=st.lists(constraints, min_size=2, max_size=2), max_length=st.integers(1, 4))
def test_a_wide_beam_sorts_by_satisfied_constraints_then_by_log_probability(seed, images, max_length) -> None:
    table, step = chain(2, 5, seed)
    candidates = list(all_sequences(5, max_length))
    result = run(BeamSearch(len(candidates), max_length), step, 2, automaton=build_automaton(images))
    for b in range(2):
        expected = sorted(candidates, key=lambda s: (-num_satisfied(s, images[b], 3), -log_prob(table[b], s)))
        best = [(num_satisfied(s, images[b], 3), log_prob(table[b], s)) for s in expected]
        ours = [(num_satisfied(s, images[b], 3), log_prob(table[b], s)) for s in sequences(result, b)]
        assert len(ours) == len(candidates)
        assert [m for m, _ in ours] == [m for m, _ in best]
        assert [p for _, p in ours] == pytest.approx([p for _, p in best], abs=1e-4)


def slow_constrained(table, image, search: BeamSearch):
    """Return the best sequences; the state of the automaton is computed from the words."""

    def state(sequence):
        parts = []
        for phrases in image:
            if contains(sequence, phrases):
                parts.append(None)
                continue
            suffixes = [sequence[n:] for n in range(len(sequence) + 1)]
            parts.append(next(s for s in suffixes if any(p[: len(s)] == s for p in phrases)))
        return tuple(parts)

    live, collected = [(0.0, ())], []
    for t in range(search.max_length):
        by_state = {}
        for total, sequence in live:
            if sequence and sequence[-1] == EOS:  # it keeps its slot
                by_state.setdefault(state(sequence), []).append((total, sequence))
                continue
            own = {}
            for word, gain in continuations(table, search, sequence):
                longer = (*sequence, word)
                own.setdefault(state(longer), []).append((total + gain, longer))
            for name, group in own.items():
                best = sorted(group, key=lambda one: -one[0])[: search.per_sequence if sequence else None]
                by_state.setdefault(name, []).extend(best)
        kept = [
            one
            for group in by_state.values()
            for one in sorted(group, key=lambda one: -one[0])[: search.beam_size]
        ]
        retire = search.finished == "retire"
        retired = [one for one in kept if (retire and one[1][-1] == EOS) or t + 1 == search.max_length]
        collected += retired
        live = [one for one in kept if one not in retired]
    return sorted(collected, key=lambda one: (-num_satisfied(one[1], image, len(image)), -one[0]))


@settings(max_examples=80, deadline=None)
@given(
    seed=seeds,
    image=constraints,
    beam_size=st.integers(1, 3),
    max_length=st.integers(1, 6),
    finished=st.sampled_from(["retire", "compete"]),
    per_sequence=st.none() | st.integers(1, 2),
)
def test_a_narrow_beam_equals_a_slow_search_with_a_list_for_each_state(
    seed, image, beam_size, max_length, finished, per_sequence
) -> None:
    table, step = chain(1, 5, seed)
    search = BeamSearch(beam_size, max_length, finished, per_sequence=per_sequence)
    ours = sequences(run(search, step, 1, automaton=build_automaton([image])), 0)
    slow = slow_constrained(table[0], image, search)
    top = num_satisfied(slow[0][1], image, len(image))
    best = [sequence for _, sequence in slow if num_satisfied(sequence, image, len(image)) == top][:beam_size]
    assert ours[: len(best)] == best


@settings(max_examples=40, deadline=None)
@given(seed=seeds, image=constraints, finished=st.sampled_from(["retire", "compete"]))
def test_a_step_reads_only_live_sequences(seed, image, finished) -> None:
    _, plain = chain(1, 5, seed)
    read = []

    def step(last, state):
        words = torch.cat([state.history, last.unsqueeze(2)], 2)
        read.append([tuple(sequence) for sequence in words[0].tolist()])
        return plain(last, state)

    run(BeamSearch(3, 6, finished), step, 1, automaton=build_automaton([image]))
    for live in read[1:]:
        assert len(set(live)) == len(live)  # an empty slot would be a copy
        assert finished == "compete" or all(sequence[-1] != EOS for sequence in live)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, images=st.lists(constraints, min_size=3, max_size=3))
def test_constraints_of_other_images_do_not_change_a_result(seed, images) -> None:
    table, step = chain(3, 5, seed)
    search = BeamSearch(2, 5)
    batch = run(search, step, 3, automaton=build_automaton(images))

    for b in range(3):
        alone = run(search, make_step(table[b : b + 1]), 1, automaton=build_automaton(images[b : b + 1]))
        assert sequences(batch, b)[:1] == sequences(alone, 0)[:1]


@settings(max_examples=40, deadline=None)
@given(seed=seeds, finished=st.sampled_from(["retire", "compete"]))
def test_an_automaton_without_constraints_changes_nothing(seed, finished) -> None:
    _, step = chain(2, 5, seed)
    search = BeamSearch(3, 5, finished)
    without = run(search, step, 2)
    empty = run(search, step, 2, automaton=build_automaton([[], []]))
    assert without.words.tolist() == empty.words.tolist()
    torch.testing.assert_close(without.score, empty.score)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_the_required_number_of_constraints_is_enough(seed) -> None:
    table, step = chain(1, 5, seed)
    image = [[(1,)], [(2, 3)], [(4,)]]
    candidates = list(all_sequences(5, 4))
    result = run(BeamSearch(len(candidates), 4), step, 1, automaton=build_automaton([image], required=2))
    best = max(candidates, key=lambda s: (num_satisfied(s, image, 2), log_prob(table[0], s)))
    assert num_satisfied(sequences(result, 0)[0], image, 2) == 2
    assert log_prob(table[0], sequences(result, 0)[0]) == pytest.approx(log_prob(table[0], best), abs=1e-4)


def test_a_constraint_that_cannot_be_satisfied_is_given_up() -> None:
    _, step = chain(1, 5, 3)
    search = BeamSearch(2, 3, rules=Rules(bad_words=(2,)))
    result = run(search, step, 1, automaton=build_automaton([[[(2,)], [(1,)]]]))
    first = sequences(result, 0)[0]
    assert 1 in first
    assert 2 not in first


def test_a_phrase_longer_than_the_caption_is_not_satisfied() -> None:
    _, step = chain(2, 5, 3)
    result = run(BeamSearch(2, 2), step, 2, automaton=build_automaton([[[(1, 2, 3)]], []]))
    assert sequences(result, 0)
    assert sequences(result, 1)


@pytest.mark.parametrize("constraints", [[[[]]], [[[()]]]], ids=["no phrases", "no words"])
def test_empty_constraints_are_rejected(constraints) -> None:
    with pytest.raises(ValueError, match="must have at least one phrase"):
        build_automaton(constraints)


@pytest.mark.parametrize("word", [-1, 2.5, "dog", True], ids=str)
def test_a_word_of_a_constraint_that_is_not_an_index_is_rejected(word) -> None:
    with pytest.raises(ValueError, match="a word of a constraint must be an integer of at least 0, got .*"):
        build_automaton([[[(1, word)]]])


@pytest.mark.parametrize("required", [0, -1, 2.5, True], ids=str)
def test_an_invalid_number_of_required_constraints_is_rejected(required) -> None:
    with pytest.raises(ValueError, match="required must be an integer of at least 1, got .*"):
        build_automaton([[[(1,)]]], required)


def test_automata_must_fit_the_images_and_the_vocabulary() -> None:
    _, step = chain(2, 3, 0)
    with pytest.raises(ValueError, match="below the vocabulary size 3, got 7"):
        run(BeamSearch(2, 3), step, 2, automaton=build_automaton([[[(7,)]], []]))
    with pytest.raises(ValueError, match="must be for 2 images, got 1"):
        run(BeamSearch(2, 3), step, 2, automaton=build_automaton([[[(1,)]]]))
    with pytest.raises(ValueError, match="images with constraints must be .*, got 0"):
        build_automaton([])


def test_only_reachable_states_are_built() -> None:
    built = build_automaton([[[(1,)], [(2,)], [(3,)]], [[(1, 2), (1, 3)]]])
    assert built.num_states == 8
    assert built.num_satisfied[1].tolist() == [0, 0, 1, -1, -1, -1, -1, -1]
