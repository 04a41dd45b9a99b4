"""Frequencies of samples, and diverse beam search against a slow search over lists."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.decode import BeamSearch, DiverseBeamSearch, Rules, Sampling
from tests.helpers.markov import (
    BOS,
    EOS,
    SPECIAL,
    all_sequences,
    chain,
    continuations,
    init_state,
    log_prob,
    make_step,
    run,
    sequences,
    transitions,
)
from tests.helpers.searches import finished_rules, rules, seeds


def draw(sampling: Sampling, seed: int):
    """Return a chain, the samples from it, and how often each sequence was drawn."""
    table, step = chain(1, 3, seed)
    result = run(sampling, step, 1, generator=torch.Generator().manual_seed(seed))
    return table[0], result, Counter(sequences(result, 0))


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_drawn_with_their_probabilities(seed) -> None:
    table, _, counts = draw(Sampling(20_000, 3), seed)
    for sequence in all_sequences(3, 3):
        prob = torch.tensor(log_prob(table, sequence)).exp().item()
        error = (prob * (1 - prob) / 20_000) ** 0.5
        assert abs(counts[sequence] / 20_000 - prob) < 5 * error + 1e-9


def test_a_low_temperature_sharpens_the_distribution() -> None:
    table, _, counts = draw(Sampling(20_000, 1, temperature=0.5), 1)
    probs = (table[0][BOS] / 0.5).softmax(0)
    for word in range(3):
        assert counts[(word,)] / 20_000 == pytest.approx(float(probs[word]), abs=0.02)


@pytest.mark.parametrize("temperature", [1e-3, 1e-39, 1e-320])
def test_a_temperature_near_zero_draws_the_most_likely_word(temperature) -> None:
    table, _, counts = draw(Sampling(100, 1, temperature=temperature), 1)
    assert counts == {(int(table[0][BOS].argmax()),): 100}


@pytest.mark.parametrize("temperature", [0.01, 0.5, 1.0, 2.0])
def test_a_sequence_without_allowed_words_ends_at_every_temperature(temperature) -> None:
    table, _ = chain(1, 4, 0)
    table[..., EOS] = -torch.inf
    search = Sampling(5, 3, temperature=temperature, rules=Rules(bad_words=(1, 2, 3)))
    assert run(search, make_step(table), 1).words.tolist() == [[[EOS]] * 5]


def candidates(sampling: Sampling, probs) -> set[int]:
    """Return the words that may be drawn, by the definitions of top-k and top-p."""
    order = sorted(range(len(probs)), key=lambda w: -probs[w])
    if sampling.top_k is not None:
        return set(order[: sampling.top_k])
    total, nucleus = 0.0, set()
    for word in order:
        if total >= sampling.top_p:
            break
        nucleus.add(word)
        total += float(probs[word])
    return nucleus


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    sampling=st.one_of(
        st.builds(Sampling, st.just(300), st.just(4), top_k=st.integers(1, 6)),
        st.builds(Sampling, st.just(300), st.just(4), top_p=st.floats(0.05, 0.99)),
    ),
)
def test_only_the_most_likely_words_are_drawn(seed, sampling) -> None:
    table, step = chain(1, 5, seed)
    result = run(sampling, step, 1, generator=torch.Generator().manual_seed(seed))
    first = set()
    for words in sequences(result, 0):
        for t, (last, word) in enumerate(itertools.pairwise([BOS, *words])):
            assert word in candidates(sampling, transitions(table[0], t)[last].softmax(0))
        first.add(words[0])
    assert first <= candidates(sampling, transitions(table[0], 0)[BOS].exp())


@settings(max_examples=40, deadline=None)
@given(seed=seeds, rules=rules)
def test_samples_have_the_log_probabilities_of_their_words_and_end_once(seed, rules) -> None:
    table, step = chain(2, 5, seed)
    result = run(Sampling(6, 5, temperature=1.7, rules=rules), step, 2)
    for b, n in itertools.product(range(2), range(6)):
        words = [w for w in result.words[b, n].tolist() if w != -1]
        assert words
        assert EOS not in words[:-1]
        assert len(words) == result.words.shape[2] or words[-1] == EOS
        assert log_prob(table[b], words) == pytest.approx(float(result.log_prob[b, n]), abs=1e-4)
        assert not result.weights[b, n, len(words) :].any()


def test_log_probabilities_of_samples_have_gradients() -> None:
    logits = torch.randn(5, requires_grad=True)

    def step(words, state):
        return logits.log_softmax(0).expand(*words.shape, 5), torch.ones(*words.shape, 1), state

    result = Sampling(7, 1)(step, init_state(1), images=1, special=SPECIAL)
    result.log_prob.sum().backward()
    counts = torch.bincount(result.words.flatten(), minlength=5)
    torch.testing.assert_close(logits.grad, counts - 7 * logits.detach().softmax(0))


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.5}, {"num_samples": 0}],
    ids=str,
)
def test_invalid_options_are_rejected(options) -> None:
    with pytest.raises(ValueError, match="must be"):
        Sampling(**options)


def slow_diverse(table, search: DiverseBeamSearch):
    """Return (score, words) of all groups; words that earlier groups chose are penalized."""
    group_size = search.beam_size // search.num_groups
    live = [[(0.0, ())] for _ in range(search.num_groups)]
    collected = [[] for _ in range(search.num_groups)]
    for t in range(search.max_length):
        chosen = Counter()
        for g in range(search.num_groups):
            longer = [
                (total + gain - search.diversity_penalty * chosen[word], total + gain, (*sequence, word))
                for total, sequence in live[g]
                if not sequence or sequence[-1] != EOS
                for word, gain in continuations(table, search, sequence)
            ]
            finished = [
                (total, total, sequence) for total, sequence in live[g] if sequence and sequence[-1] == EOS
            ]
            longer = sorted(longer + finished, key=lambda one: -one[0])[:group_size]
            chosen.update(sequence[-1] for _, _, sequence in longer if len(sequence) == t + 1)
            retired = [(p, s) for _, p, s in longer if s[-1] == EOS or t + 1 == search.max_length]
            live[g] = [(p, s) for _, p, s in longer]
            if search.finished == "compete":
                collected[g] = live[g]
            else:
                collected[g] += retired
                live[g] = [one for one in live[g] if one not in retired]
    results = [one for group in collected for one in sorted(group, key=lambda one: -one[0])[:group_size]]
    best = {}
    for score, sequence in sorted(results, key=lambda one: -one[0]):
        best.setdefault(sequence, score)
    return [(score, sequence) for sequence, score in best.items()]


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    groups=st.integers(1, 3),
    diversity_penalty=st.sampled_from([0.0, 0.5, 3.0]),
    finished=finished_rules,
    rules=rules,
)
def test_diverse_beam_search_equals_a_slow_search_over_lists(
    seed, groups, diversity_penalty, finished, rules
) -> None:
    table, step = chain(2, 6, seed)
    table = table.log_softmax(-1)
    search = DiverseBeamSearch(2 * groups, groups, diversity_penalty, 5, finished, rules=rules)
    result = run(search, step, 2)
    for b in range(2):
        slow = slow_diverse(table[b], search)
        assert sorted(sequences(result, b)) == sorted(sequence for _, sequence in slow)
        assert result.score[b, : len(slow)].tolist() == pytest.approx([p for p, _ in slow], abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, diversity_penalty=st.sampled_from([0.0, 0.5]), finished=finished_rules)
def test_a_caption_that_several_groups_find_is_returned_once(seed, diversity_penalty, finished) -> None:
    table, _ = chain(2, 4, seed)
    result = run(
        DiverseBeamSearch(6, 3, diversity_penalty, 5, finished), make_step((2 * table).log_softmax(-1)), 2
    )
    for b in range(2):
        captions = sequences(result, b)
        assert len(set(captions)) == len(captions)
        assert diversity_penalty or len(captions) == 2  # all groups find the same captions
        empty = result.score[b] == -torch.inf
        assert empty.tolist() == [False] * len(captions) + [True] * (6 - len(captions))
        assert (result.log_prob[b, empty] == -torch.inf).all()
        assert (result.words[b, empty] == SPECIAL.padding).all()
        assert not result.word_log_prob[b, empty].any()
        assert not result.weights[b, empty].any()


@settings(max_examples=20, deadline=None)
@given(seed=seeds, finished=finished_rules)
def test_one_group_is_beam_search(seed, finished) -> None:
    _, step = chain(2, 5, seed)
    diverse = run(DiverseBeamSearch(3, 1, 0.7, 5, finished), step, 2)
    plain = run(BeamSearch(3, 5, finished), step, 2)
    assert diverse.words.tolist() == plain.words.tolist()


def test_the_beam_size_must_be_a_multiple_of_the_number_of_groups() -> None:
    with pytest.raises(ValueError, match="beam_size=5 must be a multiple of num_groups=2"):
        DiverseBeamSearch(5, 2)


def test_samples_follow_the_rules() -> None:
    _, step = chain(4, 6, 0)
    result = run(Sampling(50, 6, rules=Rules(bad_words=(2, 3), allow_repeat=False)), step, 4)
    captions = [caption for b in range(4) for caption in sequences(result, b)]
    assert not {2, 3} & {word for caption in captions for word in caption}
    assert all(u != w for caption in captions for u, w in itertools.pairwise(caption))
