"""VQA models and attention: what must not change their results, and what they are made of."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.models.attention import masked_mean, masked_softmax
from tests.helpers.models import ANSWERERS, COUNTS, LOOKING, H, K, answerer, chosen, some_regions, some_words

every = pytest.mark.parametrize("kind", ANSWERERS)


@pytest.fixture
def batch():
    return some_regions(), some_words()[:, 0]


def test_there_are_models() -> None:
    assert len(ANSWERERS) == 2 * len(LOOKING) + 2 >= 14


@torch.no_grad()
def test_question_encoder_reads_padding_as_a_zero_vector() -> None:
    model = answerer("product").encoder
    words = torch.tensor([[0, 0, 3, 4]])
    h = torch.zeros(1, 1, H)
    for word in words[0]:
        vector = model.word.weight[word] if word else torch.zeros_like(model.word.weight[0])
        _, h = model.recurrent(vector.view(1, 1, -1), h)
    torch.testing.assert_close(model(words), h[0])


@every
@torch.no_grad()
def test_what_stands_in_the_padding_changes_nothing(kind: str, batch) -> None:
    model, (regions, words) = answerer(kind), batch
    padding = ~regions.mask.unsqueeze(-1)
    filled = regions._replace(
        features=regions.features.masked_fill(padding, 99.0), boxes=regions.boxes.masked_fill(padding, 7.0)
    )
    torch.testing.assert_close(model(filled, words), model(regions, words))


@every
@torch.no_grad()
def test_a_batch_gives_what_each_image_alone_gives(kind: str, batch) -> None:
    model, (regions, words) = answerer(kind), batch
    together, _ = model(regions, words)
    for b, count in enumerate(COUNTS):
        alone, _ = model(chosen(regions, slice(b, b + 1), slice(count)), words[b : b + 1])
        torch.testing.assert_close(together[b], alone[0], atol=1e-6, rtol=1e-5)


@every
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(K)))
@torch.no_grad()
def test_the_order_of_regions_changes_only_the_order_of_weights(kind: str, order) -> None:
    model, regions, words = answerer(kind), some_regions(), some_words()[:, 0]
    logits, weights = model(regions, words)
    found, looked = model(chosen(regions, slice(None), order), words)
    torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(looked, weights[:, order])


@every
def test_every_parameter_gets_a_gradient_and_the_model_can_be_copied(kind: str, batch) -> None:
    first = answerer(kind)
    model = copy.deepcopy(first)
    model(*batch)[0].square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    assert all(p.grad is None for p in first.parameters())


@every
@torch.no_grad()
def test_a_copy_answers_the_same_and_is_changed_alone(kind: str, batch) -> None:
    model = answerer(kind)
    before = model(*batch)[0].clone()
    other = copy.deepcopy(model)
    torch.testing.assert_close(other(*batch)[0], before, rtol=0, atol=0)
    for parameter in other.parameters():
        parameter.add_(0.5)
    assert not torch.allclose(other(*batch)[0], before)
    torch.testing.assert_close(model(*batch)[0], before, rtol=0, atol=0)


@settings(max_examples=30, deadline=None)
@given(scores=st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=6), real=st.integers(1, 6))
def test_masked_softmax_is_the_softmax_of_the_real_ones(scores, real) -> None:
    real = min(real, len(scores))
    mask = torch.arange(len(scores)) < real
    weights = masked_softmax(torch.tensor([scores]), mask[None])[0]
    torch.testing.assert_close(weights[:real], torch.tensor(scores[:real]).softmax(0))
    assert not weights[real:].any()


def test_masked_mean_divides_by_the_real_regions() -> None:
    features, mask, _ = some_regions()
    for b, count in enumerate(COUNTS):
        torch.testing.assert_close(masked_mean(features, mask)[b], features[b, :count].mean(0))


def test_weight_norm_has_one_norm_a_matrix() -> None:
    layer = answerer("product").glimpse.question[0]
    assert layer.parametrizations.weight.original0.numel() == 1
