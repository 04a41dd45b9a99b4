"""Constrained beam search against enumeration, and against a slow one with a list for each state."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.decode import BeamSearch, Rules, automaton
from tests.helpers.markov import EOS, chain, continuations, every_sequence, log_prob, run, sequences

seeds = st.integers(0, 10**6)
phrase = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
constraint = st.lists(phrase, min_size=1, max_size=2)
constraints = st.lists(constraint, max_size=3)


def says(said: tuple[int, ...], phrases) -> bool:
    return any(said[n : n + len(p)] == p for p in phrases for n in range(len(said)))


def met(said: tuple[int, ...], image, required: int) -> int:
    return min(sum(says(said, phrases) for phrases in image), required)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, images=st.lists(constraints, min_size=2, max_size=2), longest=st.integers(1, 4))
def test_a_wide_beam_puts_first_what_meets_most_and_is_most_likely(seed, images, longest) -> None:
    table, step = chain(2, 5, seed)
    every = list(every_sequence(5, longest))
    found = run(BeamSearch(len(every), longest), step, 2, automaton=automaton(images))
    for b in range(2):
        wanted = sorted(every, key=lambda s: (-met(s, images[b], 3), -log_prob(table[b], s)))
        best = [(met(s, images[b], 3), log_prob(table[b], s)) for s in wanted]
        ours = [(met(s, images[b], 3), log_prob(table[b], s)) for s in sequences(found, b)]
        assert len(ours) == len(every)
        assert [m for m, _ in ours] == [m for m, _ in best]
        assert [p for _, p in ours] == pytest.approx([p for _, p in best], abs=1e-4)


def slow_constrained(table, image, search: BeamSearch):
    """Return the best sequences: beams by what their words have met and begun, straight from the words."""

    def state(said):
        parts = []
        for phrases in image:
            if says(said, phrases):
                parts.append(None)
                continue
            ends = [said[n:] for n in range(len(said) + 1)]
            parts.append(next(e for e in ends if any(p[: len(e)] == e for p in phrases)))
        return tuple(parts)

    live, collected = [(0.0, ())], []
    for t in range(search.max_length):
        by_state = {}
        for total, said in live:
            if said and said[-1] == EOS:  # it stays and competes
                by_state.setdefault(state(said), []).append((total, said))
                continue
            for word, gain in continuations(table, search, said):
                longer = (*said, word)
                by_state.setdefault(state(longer), []).append((total + gain, longer))
        kept = [
            one
            for group in by_state.values()
            for one in sorted(group, key=lambda one: -one[0])[: search.beam_size]
        ]
        leaves = search.finished == "retire"
        over = [one for one in kept if (leaves and one[1][-1] == EOS) or t + 1 == search.max_length]
        collected += over
        live = [one for one in kept if one not in over]
    return sorted(collected, key=lambda one: (-met(one[1], image, len(image)), -one[0]))


@settings(max_examples=80, deadline=None)
@given(
    seed=seeds,
    image=constraints,
    width=st.integers(1, 3),
    longest=st.integers(1, 6),
    finished=st.sampled_from(["retire", "compete"]),
)
def test_narrow_beams_equal_a_list_for_each_state(seed, image, width, longest, finished) -> None:
    table, step = chain(1, 5, seed)
    search = BeamSearch(width, longest, finished)
    ours = sequences(run(search, step, 1, automaton=automaton([image])), 0)
    slow = slow_constrained(table[0], image, search)
    top = met(slow[0][1], image, len(image))
    best = [said for _, said in slow if met(said, image, len(image)) == top][:width]
    assert ours[: len(best)] == best


@settings(max_examples=40, deadline=None)
@given(seed=seeds, image=constraints, finished=st.sampled_from(["retire", "compete"]))
def test_a_step_reads_live_sequences_alone(seed, image, finished) -> None:
    _, plain = chain(1, 5, seed)
    read = []

    def step(last, state):
        read.append([tuple(said) for said in torch.cat([state.said, last.unsqueeze(2)], 2)[0].tolist()])
        return plain(last, state)

    run(BeamSearch(3, 6, finished), step, 1, automaton=automaton([image]))
    for every in read[1:]:
        assert len(set(every)) == len(every)  # an empty place would be a copy
        assert finished == "compete" or all(said[-1] != EOS for said in every)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, images=st.lists(constraints, min_size=3, max_size=3))
def test_images_with_other_constraints_do_not_change_a_result(seed, images) -> None:
    table, step = chain(3, 5, seed)
    search = BeamSearch(2, 5)
    together = run(search, step, 3, automaton=automaton(images))
    from tests.helpers.markov import stepping

    for b in range(3):
        alone = run(search, stepping(table[b : b + 1]), 1, automaton=automaton(images[b : b + 1]))
        assert sequences(together, b)[:1] == sequences(alone, 0)[:1]


@settings(max_examples=40, deadline=None)
@given(seed=seeds, finished=st.sampled_from(["retire", "compete"]))
def test_no_constraints_are_the_same_as_no_automaton(seed, finished) -> None:
    _, step = chain(2, 5, seed)
    search = BeamSearch(3, 5, finished)
    without, with_none = run(search, step, 2), run(search, step, 2, automaton=automaton([[], []]))
    assert without.words.tolist() == with_none.words.tolist()
    torch.testing.assert_close(without.score, with_none.score)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_enough_constraints_are_enough(seed) -> None:
    table, step = chain(1, 5, seed)
    image = [[(1,)], [(2, 3)], [(4,)]]
    every = list(every_sequence(5, 4))
    found = run(BeamSearch(len(every), 4), step, 1, automaton=automaton([image], required=2))
    best = max(every, key=lambda s: (met(s, image, 2), log_prob(table[0], s)))
    assert met(sequences(found, 0)[0], image, 2) == 2
    assert log_prob(table[0], sequences(found, 0)[0]) == pytest.approx(log_prob(table[0], best), abs=1e-4)


def test_a_constraint_that_cannot_be_met_leaves_the_best_without_it() -> None:
    _, step = chain(1, 5, 3)
    search = BeamSearch(2, 3, rules=Rules(bad_words=(2,)))
    found = run(search, step, 1, automaton=automaton([[[(2,)], [(1,)]]]))
    first = sequences(found, 0)[0]
    assert 1 in first
    assert 2 not in first


def test_a_phrase_longer_than_the_caption_is_not_met_and_nothing_breaks() -> None:
    _, step = chain(2, 5, 3)
    found = run(BeamSearch(2, 2), step, 2, automaton=automaton([[[(1, 2, 3)]], []]))
    assert sequences(found, 0)
    assert sequences(found, 1)


@pytest.mark.parametrize("wrong", [[[[]]], [[[()]]]], ids=["no phrases", "no words"])
def test_empty_constraints_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="needs phrases"):
        automaton(wrong)


@pytest.mark.parametrize("word", [-1, 2.5, "dog", True], ids=str)
def test_a_word_of_a_constraint_that_is_no_index_is_refused(word) -> None:
    with pytest.raises(ValueError, match="a word of a constraint must be an integer of at least 0, got .*"):
        automaton([[[(1, word)]]])


@pytest.mark.parametrize("required", [0, -1, 2.5, True], ids=str)
def test_a_number_of_constraints_that_is_none_is_refused(required) -> None:
    with pytest.raises(ValueError, match="required must be an integer of at least 1, got .*"):
        automaton([[[(1,)]]], required)


def test_automata_are_of_the_images_and_over_the_words_of_the_model() -> None:
    _, step = chain(2, 3, 0)
    with pytest.raises(ValueError, match="a constraint has the word 7, of 3 words"):
        run(BeamSearch(2, 3), step, 2, automaton=automaton([[[(7,)]], []]))
    with pytest.raises(ValueError, match="automata of 1 images; 2 are needed"):
        run(BeamSearch(2, 3), step, 2, automaton=automaton([[[(1,)]]]))
    with pytest.raises(ValueError, match="images with constraints is 0"):
        automaton([])


def test_the_states_are_no_more_than_can_be_reached() -> None:
    built = automaton([[[(1,)], [(2,)], [(3,)]], [[(1, 2), (1, 3)]]])
    assert built.states == 8
    assert built.met[1].tolist() == [0, 0, 1, -1, -1, -1, -1, -1]
