"""Properties of all VQA models: padding, order, batches, gradients; masked softmax and mean."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.models.attention import masked_mean, masked_softmax
from tests.helpers.models import (
    ATTENTION_VQA_MODELS,
    COUNTS,
    VQA_MODELS,
    H,
    K,
    random_regions,
    random_words,
    select,
    vqa_model,
)

all_models = pytest.mark.parametrize("kind", VQA_MODELS)


@pytest.fixture
def batch():
    return random_regions(), random_words()[:, 0]


def test_there_are_models() -> None:
    assert len(VQA_MODELS) == 2 * len(ATTENTION_VQA_MODELS) + 2 >= 14


@torch.no_grad()
def test_question_encoder_reads_padding_as_a_zero_vector() -> None:
    model = vqa_model("product").encoder
    words = torch.tensor([[0, 0, 3, 4]])
    h = torch.zeros(1, 1, H)
    for word in words[0]:
        vector = model.word.weight[word] if word else torch.zeros_like(model.word.weight[0])
        _, h = model.recurrent(vector.view(1, 1, -1), h)
    torch.testing.assert_close(model(words), h[0])


@all_models
@torch.no_grad()
def test_values_of_padding_change_nothing(kind: str, batch) -> None:
    model, (regions, words) = vqa_model(kind), batch
    padding = ~regions.mask.unsqueeze(-1)
    filled = regions._replace(
        features=regions.features.masked_fill(padding, 99.0), boxes=regions.boxes.masked_fill(padding, 7.0)
    )
    torch.testing.assert_close(model(filled, words), model(regions, words))


@all_models
@torch.no_grad()
def test_a_batch_equals_single_images(kind: str, batch) -> None:
    model, (regions, words) = vqa_model(kind), batch
    batch_logits, _ = model(regions, words)
    for b, count in enumerate(COUNTS):
        logits, _ = model(select(regions, slice(b, b + 1), slice(count)), words[b : b + 1])
        torch.testing.assert_close(batch_logits[b], logits[0], atol=1e-6, rtol=1e-5)


@all_models
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(K)))
@torch.no_grad()
def test_permuting_regions_permutes_the_attention(kind: str, order) -> None:
    model, regions, words = vqa_model(kind), random_regions(), random_words()[:, 0]
    logits, weights = model(regions, words)
    permuted_logits, permuted_weights = model(select(regions, slice(None), order), words)
    torch.testing.assert_close(permuted_logits, logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(permuted_weights, weights[:, order])


@all_models
def test_every_parameter_gets_a_gradient_and_the_model_can_be_copied(kind: str, batch) -> None:
    original = vqa_model(kind)
    model = copy.deepcopy(original)
    model(*batch)[0].square().sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []
    assert all(p.grad is None for p in original.parameters())


@all_models
@torch.no_grad()
def test_a_copy_is_equal_and_independent(kind: str, batch) -> None:
    model = vqa_model(kind)
    before = model(*batch)[0].clone()
    other = copy.deepcopy(model)
    torch.testing.assert_close(other(*batch)[0], before, rtol=0, atol=0)
    for parameter in other.parameters():
        parameter.add_(0.5)
    assert not torch.allclose(other(*batch)[0], before)
    torch.testing.assert_close(model(*batch)[0], before, rtol=0, atol=0)


@settings(max_examples=30, deadline=None)
@given(scores=st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=6), real=st.integers(1, 6))
def test_masked_softmax_is_the_softmax_of_the_real_scores(scores, real) -> None:
    real = min(real, len(scores))
    mask = torch.arange(len(scores)) < real
    weights = masked_softmax(torch.tensor([scores]), mask[None])[0]
    torch.testing.assert_close(weights[:real], torch.tensor(scores[:real]).softmax(0))
    assert not weights[real:].any()


def test_masked_mean_is_the_mean_of_the_real_regions() -> None:
    features, mask, _ = random_regions()
    for b, count in enumerate(COUNTS):
        torch.testing.assert_close(masked_mean(features, mask)[b], features[b, :count].mean(0))


def test_weight_norm_has_one_norm_per_matrix() -> None:
    layer = vqa_model("product").glimpse.question[0]
    assert layer.parametrizations.weight.original0.numel() == 1
