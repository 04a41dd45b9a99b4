"""Samples come as often as they are likely; diverse beams against slow ones."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.decode import BeamSearch, DiverseBeamSearch, Rules, Sampling
from tests.decode.test_beam import continuations, finishing, rules
from tests.helpers.markov import (
    BOS,
    EOS,
    SPECIAL,
    chain,
    every_sequence,
    log_prob,
    now,
    run,
    sequences,
    start,
    stepping,
)

seeds = st.integers(0, 10**6)


def drawn(sampling: Sampling, seed: int):
    """Return a chain and how often each sequence was drawn from it."""
    table, step = chain(1, 3, seed)
    found = run(sampling, step, 1, generator=torch.Generator().manual_seed(seed))
    return table[0], found, Counter(sequences(found, 0))


@pytest.mark.parametrize("seed", range(3))
def test_samples_come_as_often_as_they_are_likely(seed) -> None:
    table, _, counts = drawn(Sampling(20_000, 3), seed)
    for said in every_sequence(3, 3):
        share = torch.tensor(log_prob(table, said)).exp().item()
        error = (share * (1 - share) / 20_000) ** 0.5
        assert abs(counts[said] / 20_000 - share) < 5 * error + 1e-9


def test_a_temperature_sharpens_what_is_drawn() -> None:
    table, _, counts = drawn(Sampling(20_000, 1, temperature=0.5), 1)
    sharp = (table[0][BOS] / 0.5).softmax(0)
    for word in range(3):
        assert counts[(word,)] / 20_000 == pytest.approx(float(sharp[word]), abs=0.02)


@pytest.mark.parametrize("temperature", [1e-3, 1e-39, 1e-320])
def test_a_temperature_near_zero_draws_the_likeliest_word(temperature) -> None:
    table, _, counts = drawn(Sampling(100, 1, temperature=temperature), 1)
    assert counts == {(int(table[0][BOS].argmax()),): 100}


@pytest.mark.parametrize("temperature", [0.01, 0.5, 1.0, 2.0])
def test_what_is_stuck_ends_at_every_temperature_though_the_model_never_would(temperature) -> None:
    table, _ = chain(1, 4, 0)
    table[..., EOS] = -torch.inf
    search = Sampling(5, 3, temperature=temperature, rules=Rules(bad_words=(1, 2, 3)))
    assert run(search, stepping(table), 1).words.tolist() == [[[EOS]] * 5]


def kept(sampling: Sampling, row) -> set[int]:
    """Return the words that may be drawn, from the definition."""
    order = sorted(range(len(row)), key=lambda w: -row[w])
    if sampling.top_k is not None:
        return set(order[: sampling.top_k])
    share, found = 0.0, set()
    for word in order:
        if share >= sampling.top_p:
            break
        found.add(word)
        share += float(row[word])
    return found


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    sampling=st.one_of(
        st.builds(Sampling, st.just(300), st.just(4), top_k=st.integers(1, 6)),
        st.builds(Sampling, st.just(300), st.just(4), top_p=st.floats(0.05, 0.99)),
    ),
)
def test_only_the_likeliest_words_are_drawn(seed, sampling) -> None:
    table, step = chain(1, 5, seed)
    found = run(sampling, step, 1, generator=torch.Generator().manual_seed(seed))
    said = set()
    for words in sequences(found, 0):
        for t, (last, word) in enumerate(itertools.pairwise([BOS, *words])):
            assert word in kept(sampling, now(table[0], t)[last].softmax(0))
            said.add((t, word))
    assert {word for t, word in said if t == 0} <= kept(sampling, now(table[0], 0)[BOS].exp())


@settings(max_examples=40, deadline=None)
@given(seed=seeds, rules=rules)
def test_samples_have_the_log_probabilities_of_their_words_and_end_once(seed, rules) -> None:
    table, step = chain(2, 5, seed)
    found = run(Sampling(6, 5, temperature=1.7, rules=rules), step, 2)
    for b, n in itertools.product(range(2), range(6)):
        words = [w for w in found.words[b, n].tolist() if w != -1]
        assert words
        assert EOS not in words[:-1]
        assert len(words) == found.words.shape[2] or words[-1] == EOS
        assert log_prob(table[b], words) == pytest.approx(float(found.log_prob[b, n]), abs=1e-4)
        assert not found.weights[b, n, len(words) :].any()


def test_log_probabilities_of_samples_carry_the_gradient_of_the_words_drawn() -> None:
    logits = torch.randn(5, requires_grad=True)

    def step(words, state):
        return logits.log_softmax(0).expand(*words.shape, 5), torch.ones(*words.shape, 1), state

    found = Sampling(7, 1)(step, start(1), images=1, special=SPECIAL)
    found.log_prob.sum().backward()
    counts = torch.bincount(found.words.flatten(), minlength=5)
    torch.testing.assert_close(logits.grad, counts - 7 * logits.detach().softmax(0))


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.5}, {"num_samples": 0}],
    ids=lambda w: str(w),
)
def test_impossible_sampling_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="needed|at least"):
        Sampling(**wrong)


def slow_diverse(table, search: DiverseBeamSearch):
    """Return (score, words) of all groups, each continued with what earlier ones said taken off."""
    each = search.beam_size // search.num_groups
    live = [[(0.0, ())] for _ in range(search.num_groups)]
    collected = [[] for _ in range(search.num_groups)]
    for t in range(search.max_length):
        taken = Counter()
        for g in range(search.num_groups):
            longer = [
                (total + gain - search.diversity_penalty * taken[word], total + gain, (*said, word))
                for total, said in live[g]
                if not said or said[-1] != EOS
                for word, gain in continuations(table, search, said)
            ]
            waiting = [(total, total, said) for total, said in live[g] if said and said[-1] == EOS]
            longer = sorted(longer + waiting, key=lambda one: -one[0])[:each]
            taken.update(said[-1] for _, _, said in longer if len(said) == t + 1)
            over = [(p, s) for _, p, s in longer if s[-1] == EOS or t + 1 == search.max_length]
            live[g] = [(p, s) for _, p, s in longer]
            if search.finished == "compete":
                collected[g] = live[g]
            else:
                collected[g] += over
                live[g] = [one for one in live[g] if one not in over]
    every = [one for group in collected for one in sorted(group, key=lambda one: -one[0])[:each]]
    best = {}
    for score, said in sorted(every, key=lambda one: -one[0]):
        best.setdefault(said, score)
    return [(score, said) for said, score in best.items()]


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    groups=st.integers(1, 3),
    diversity_penalty=st.sampled_from([0.0, 0.5, 3.0]),
    finished=finishing,
    rules=rules,
)
def test_diverse_beam_search_equals_a_slow_one_with_lists(
    seed, groups, diversity_penalty, finished, rules
) -> None:
    table, step = chain(2, 6, seed)
    table = table.log_softmax(-1)
    search = DiverseBeamSearch(2 * groups, groups, diversity_penalty, 5, finished, rules=rules)
    found = run(search, step, 2)
    for b in range(2):
        slow = slow_diverse(table[b], search)
        assert sorted(sequences(found, b)) == sorted(said for _, said in slow)
        assert found.score[b, : len(slow)].tolist() == pytest.approx([p for p, _ in slow], abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, diversity_penalty=st.sampled_from([0.0, 0.5]), finished=finishing)
def test_a_caption_that_several_groups_find_comes_once(seed, diversity_penalty, finished) -> None:
    table, _ = chain(2, 4, seed)
    found = run(
        DiverseBeamSearch(6, 3, diversity_penalty, 5, finished), stepping((2 * table).log_softmax(-1)), 2
    )
    for b in range(2):
        said = sequences(found, b)
        assert len(set(said)) == len(said)
        assert diversity_penalty or len(said) == 2  # every group finds the same
        empty = found.score[b] == -torch.inf
        assert empty.tolist() == [False] * len(said) + [True] * (6 - len(said))
        assert (found.log_prob[b, empty] == -torch.inf).all()
        assert (found.words[b, empty] == SPECIAL.padding).all()
        assert not found.word_log_prob[b, empty].any()
        assert not found.weights[b, empty].any()


@settings(max_examples=20, deadline=None)
@given(seed=seeds, finished=finishing)
def test_one_group_is_beam_search(seed, finished) -> None:
    _, step = chain(2, 5, seed)
    diverse = run(DiverseBeamSearch(3, 1, 0.7, 5, finished), step, 2)
    plain = run(BeamSearch(3, 5, finished), step, 2)
    assert diverse.words.tolist() == plain.words.tolist()


def test_groups_must_share_the_width() -> None:
    with pytest.raises(ValueError, match="beam_size=5"):
        DiverseBeamSearch(5, 2)


def test_rules_hold_for_samples() -> None:
    _, step = chain(4, 6, 0)
    found = run(Sampling(50, 6, rules=Rules(bad_words=(2, 3), allow_repeat=False)), step, 4)
    every = [said for b in range(4) for said in sequences(found, b)]
    assert not {2, 3} & {word for said in every for word in said}
    assert all(u != w for said in every for u, w in itertools.pairwise(said))
