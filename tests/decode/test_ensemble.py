"""Several models say every word together: by the mean of their probabilities, in any search."""

import pytest
import torch
from torch.nn import functional as F

from bua.decode import BeamSearch, DiverseBeamSearch, Sampling, automaton, ensemble, greedy
from bua.inference.generate import generate
from bua.text import BOS, PADDING
from tests.helpers.markov import SPECIAL, chain, log_prob, run, sequences, start
from tests.helpers.models import captioner, some_regions, steps

#: A state of two LSTMs, of keys and values, of another LSTM, and one without attention.
KINDS = ("updown", "transformer_geometry", "updown_caffe", "mean_pooled")
SHARES = (1.0, 2.0, 3.0, 4.0)
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
def test_captioners_of_several_kinds_say_the_mean_of_their_probabilities(name: str) -> None:
    torch.manual_seed(0)
    models, regions = [captioner(kind, seed) for seed, kind in enumerate(KINDS)], some_regions()
    more = {"automaton": automaton([[[(4,)]], [[(5, 6)], [(7,)]], []])} if name == "constrained" else {}
    found = generate(models, [regions] * len(models), SEARCHES[name], SHARES, **more)
    words = F.pad(found.words, (1, 0), value=BOS)
    real = found.words != PADDING
    assert real.any(2).all(1).tolist() == [True] * 3 or name in ("constrained", "diverse")
    parts = [share / sum(SHARES) for share in SHARES]
    both = [steps(model, regions, words[..., :-1]) for model in models]
    mean = sum(part * logits.softmax(-1) for part, (logits, _) in zip(parts, both, strict=True)).log()
    said = mean.gather(3, words[..., 1:].unsqueeze(3)).squeeze(3)
    torch.testing.assert_close(found.word_log_prob, said * real, atol=2e-5, rtol=1e-4)
    looked = sum(part * weights for part, (_, weights) in zip(parts, both, strict=True))
    torch.testing.assert_close(found.weights, looked * real.unsqueeze(3), atol=2e-5, rtol=1e-4)
    if name == "constrained":
        first, second = found.words[:2, 0].tolist()
        assert 4 in first
        assert (5, 6) in list(zip(second, second[1:], strict=False))
        assert 7 in second


def test_every_search_is_tried() -> None:
    assert {type(search) for search in SEARCHES.values()} == {BeamSearch, DiverseBeamSearch, Sampling}


def test_an_ensemble_gives_the_mean_of_probabilities() -> None:
    (one, a), (two, b) = chain(2, 4, 1), chain(2, 4, 2)
    mean = (0.25 * one.exp() + 0.75 * two.exp()).log()
    both = ensemble([a, b], [1, 3])
    search = BeamSearch(3, 5)
    found = search(both, (start(2), start(2)), images=2, special=SPECIAL)
    for n in range(2):
        said = sequences(found, n)
        assert found.score[n].tolist() == pytest.approx([log_prob(mean[n], s) for s in said], abs=1e-4)


def test_where_models_look_at_different_regions_the_looks_of_the_first_are_kept() -> None:
    (_, a), (_, b) = chain(2, 4, 1), chain(2, 4, 2)

    def elsewhere(words, state):
        log_probs, weights, state = b(words, state)
        return log_probs, weights.flip(-1) + 1, state

    words, states = torch.zeros(2, 1, dtype=torch.long), (start(2), start(2))
    alone = a(words, start(2))[1]
    kept = ensemble([a, elsewhere], same_regions=False)(words, states)[1]
    torch.testing.assert_close(kept, alone)
    mixed = ensemble([a, elsewhere])(words, states)[1]
    assert not torch.allclose(mixed, alone)


def test_an_ensemble_of_one_is_that_one() -> None:
    _, step = chain(2, 4, 1)
    alone, together = run(BeamSearch(3, 5), step, 2), ensemble([step])
    found = BeamSearch(3, 5)(together, (start(2),), images=2, special=SPECIAL)
    assert found.words.tolist() == alone.words.tolist()
    torch.testing.assert_close(found.weights, alone.weights)


@pytest.mark.parametrize("shares", [[], [1], [1, 0], [1, -1]], ids=str)
def test_shares_that_are_not_those_of_the_models_are_refused(shares) -> None:
    _, step = chain(1, 3, 0)
    with pytest.raises(ValueError, match="shares above 0"):
        ensemble([step, step], shares)
