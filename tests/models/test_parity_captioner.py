"""Parity of the captioner and beam search with self-critical.pytorch, with its weights."""

import functools

import pytest
import torch

from bua.decode import BeamSearch, SpecialTokens, greedy
from bua.inference.captioning import make_step_function
from bua.models.attention import masked_mean
from bua.models.captioners.updown import UpDownCaptioner
from bua.structures.region_batch import RegionBatch
from tests.helpers.parity import load, tensor

NAMES = {
    "embed.0": "word",
    "fc_embed.0": "mean",
    "att_embed.0": "region",
    "ctx2att": "key",
    "core.att_lstm": "attention_lstm",
    "core.lang_lstm": "language_lstm",
    "core.attention.h2att": "attention.query",
    "core.attention.alpha_net": "attention.score",
    "logit": "logits",
}


@functools.cache
def reference():
    return load("captioner_updown.npz")


@pytest.fixture
def model() -> UpDownCaptioner:
    file = reference()
    weights = {}
    for key in file.files:
        if key.startswith("weight/"):
            prefix = next(p for p in NAMES if key.removeprefix("weight/").startswith(p + "."))
            name = NAMES[prefix] + key.removeprefix(f"weight/{prefix}")
            weights[name] = tensor(file[key])
    vocabulary, word = weights["word.weight"].shape
    hidden, feature = weights["region.weight"].shape
    model = UpDownCaptioner(
        feature_size=feature,
        vocabulary_size=vocabulary,
        word_size=word,
        hidden_size=hidden,
        attention_size=len(weights["key.bias"]),
        dropout=0.5,
    )
    model.load_state_dict(split_lstm_weights(weights, hidden, word), strict=True)
    return model.eval()


def split_lstm_weights(weights, hidden, word):
    """Split the input matrices of LSTMs into one matrix for each input."""
    sizes = {
        "attention_lstm": {"language": hidden, "mean": hidden, "word": word},
        "language_lstm": {"region": hidden, "attention": hidden},
    }
    for name, inputs in sizes.items():
        parts = weights.pop(f"{name}.weight_ih").split(list(inputs.values()), 1)
        weights |= {f"{name}.of.{key}": part for key, part in zip(inputs, parts, strict=True)}
        weights[f"{name}.of_state"] = weights.pop(f"{name}.weight_hh")
    return weights


@pytest.fixture
def regions():
    file = reference()
    features, count = tensor(file["input/regions"]), tensor(file["input/region_count"])
    mask = torch.arange(features.shape[1]) < count[:, None]
    return RegionBatch(features, mask, torch.zeros(*mask.shape, 4))


def test_the_mean_of_the_reference_is_that_of_the_real_regions(regions) -> None:
    """It is a separate input of the reference."""
    mean = tensor(reference()["input/mean_regions"])
    torch.testing.assert_close(masked_mean(regions.features, regions.mask), mean, atol=1e-5, rtol=1e-5)


def test_parity_of_teacher_forced_log_probabilities(model, regions) -> None:
    file = reference()
    tokens = tensor(file["input/tokens"])
    inputs = tokens[:, :-1]
    real = torch.cat([torch.ones_like(inputs[:, :1]), (inputs[:, 1:] != 0).cumprod(1)], 1).bool()
    ours = model(regions, inputs.unsqueeze(1)).squeeze(1).log_softmax(-1)
    theirs = tensor(file["output/log_probs"])
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=1e-5)
    word_log_prob = ours.gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)
    nll = -(word_log_prob * real).sum(1)
    torch.testing.assert_close(nll, tensor(file["output/caption_nll"]), atol=1e-4, rtol=1e-5)


def search(model, regions, decoder):
    """Search with the tokens of the reference: 0 is BOS and EOS. Our padding is -1."""
    special = SpecialTokens(padding=-1, bos=0, eos=0, unknown=-1)
    step, state = make_step_function(model, regions)
    return decoder(step, state, images=len(regions.features), special=special)


@torch.no_grad()
def test_parity_of_greedy_captions(model, regions) -> None:
    theirs = tensor(reference()["output/greedy"])
    ours = search(model, regions, greedy(theirs.shape[1])).words[:, 0]
    ended = (theirs == 0).int().cumsum(1) - (theirs == 0).int() > 0
    theirs = theirs.masked_fill(ended, -1)
    assert ours.tolist() == theirs[:, : ours.shape[1]].tolist()
    assert (theirs[:, ours.shape[1] :] == -1).all()


@torch.no_grad()
def test_parity_of_all_five_beams(model, regions) -> None:
    file = reference()
    theirs = tensor(file["output/beam5_tokens"])
    result = search(model, regions, BeamSearch(theirs.shape[1], theirs.shape[2]))
    count = result.words.shape[2]
    assert result.words.tolist() == theirs[..., :count].tolist()
    assert (theirs[..., count:] == -1).all()
    torch.testing.assert_close(result.log_prob, tensor(file["output/beam5_log_prob"]), atol=1e-4, rtol=1e-5)
