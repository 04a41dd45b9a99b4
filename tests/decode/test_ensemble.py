"""Ensembles predict the mean of their models' probabilities, in every search."""

import pytest
import torch
from torch.nn import functional as F

from bua.decode import BeamSearch, DiverseBeamSearch, Sampling, build_automaton, ensemble, greedy
from bua.inference.captioning import generate
from bua.text import BOS, PADDING
from tests.helpers.markov import SPECIAL, chain, init_state, log_prob, run, sequences
from tests.helpers.models import captioner, random_regions, run_steps

#: Captioners with different kinds of states, one without attention.
KINDS = ("updown", "transformer_geometry", "updown_caffe", "mean_pooled")
WEIGHTS = (1.0, 2.0, 3.0, 4.0)
SEARCHES = {
    "greedy": greedy(5),
    "beam": BeamSearch(3, 5),
    "caffe": BeamSearch(3, 5, "compete"),
    "constrained": BeamSearch(3, 5),
    "diverse": DiverseBeamSearch(4, 2, 0.5, 5),
    "sampling": Sampling(6, 5),
}


@pytest.mark.parametrize("name", SEARCHES)
@torch.no_grad()
def test_an_ensemble_of_different_captioners_predicts_the_mean_of_their_probabilities(name: str) -> None:
    torch.manual_seed(0)
    models, regions = [captioner(kind, seed) for seed, kind in enumerate(KINDS)], random_regions()
    constraints = [[[(4,)]], [[(5, 6)], [(7,)]], []]
    options = {"automaton": build_automaton(constraints)} if name == "constrained" else {}
    result = generate(models, [regions] * len(models), SEARCHES[name], WEIGHTS, **options)
    words = F.pad(result.words, (1, 0), value=BOS)
    real = result.words != PADDING
    assert real.any(2).all(1).tolist() == [True] * 3 or name in ("constrained", "diverse")
    fractions = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    outputs = [run_steps(model, regions, words[..., :-1]) for model in models]
    mean = sum(f * logits.softmax(-1) for f, (logits, _) in zip(fractions, outputs, strict=True)).log()
    word_log_prob = mean.gather(3, words[..., 1:].unsqueeze(3)).squeeze(3)
    torch.testing.assert_close(result.word_log_prob, word_log_prob * real, atol=2e-5, rtol=1e-4)
    attention = sum(f * weights for f, (_, weights) in zip(fractions, outputs, strict=True))
    torch.testing.assert_close(result.weights, attention * real.unsqueeze(3), atol=2e-5, rtol=1e-4)
    if name == "constrained":
        first, second = result.words[:2, 0].tolist()
        assert 4 in first
        assert (5, 6) in list(zip(second, second[1:], strict=False))
        assert 7 in second


def test_all_kinds_of_searches_are_tested() -> None:
    assert {type(search) for search in SEARCHES.values()} == {BeamSearch, DiverseBeamSearch, Sampling}


def test_an_ensemble_predicts_the_weighted_mean_of_probabilities() -> None:
    (one, a), (two, b) = chain(2, 4, 1), chain(2, 4, 2)
    mean = (0.25 * one.exp() + 0.75 * two.exp()).log()
    step = ensemble([a, b], [1, 3])
    search = BeamSearch(3, 5)
    result = search(step, (init_state(2), init_state(2)), images=2, special=SPECIAL)
    for n in range(2):
        expected = [log_prob(mean[n], sequence) for sequence in sequences(result, n)]
        assert result.score[n].tolist() == pytest.approx(expected, abs=1e-4)


def test_the_attention_is_that_of_the_first_model_if_regions_differ() -> None:
    (_, a), (_, b) = chain(2, 4, 1), chain(2, 4, 2)

    def other_attention(words, state):
        log_probs, weights, state = b(words, state)
        return log_probs, weights.flip(-1) + 1, state

    words, states = torch.zeros(2, 1, dtype=torch.long), (init_state(2), init_state(2))
    first = a(words, init_state(2))[1]
    kept = ensemble([a, other_attention], same_regions=False)(words, states)[1]
    torch.testing.assert_close(kept, first)
    mixed = ensemble([a, other_attention])(words, states)[1]
    assert not torch.allclose(mixed, first)


def test_an_ensemble_of_one_model_is_that_model() -> None:
    _, step = chain(2, 4, 1)
    single = run(BeamSearch(3, 5), step, 2)
    result = BeamSearch(3, 5)(ensemble([step]), (init_state(2),), images=2, special=SPECIAL)
    assert result.words.tolist() == single.words.tolist()
    torch.testing.assert_close(result.weights, single.weights)


@pytest.mark.parametrize("weights", [[], [1], [1, 0], [1, -1]], ids=str)
def test_an_ensemble_needs_a_weight_above_0_for_each_model(weights) -> None:
    _, step = chain(1, 3, 0)
    with pytest.raises(ValueError, match="needs a weight above 0 for each"):
        ensemble([step, step], weights)
