"""Parts of VQA models against slow references with loops, written from the equations of the papers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.models.attention import ProductAttention
from bua.models.layers import GatedTanh, dropout_mask
from bua.models.vqa.ban import BilinearAttention
from bua.models.vqa.question_encoder import QuestionEncoder, word_mask
from bua.text.vocabulary import UNKNOWN
from tests.helpers.models import COUNTS, VQA_MODELS, H, V, random_regions, random_words, vqa_model
from tests.helpers.slow_layers import sigmoid, times


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9999])
def test_a_dropout_mask_is_true_with_its_probability(p: float) -> None:
    torch.manual_seed(0)
    shape = torch.Size([3, 7, 4001])  # no multiple of four
    mask = dropout_mask(shape, p, torch.device("cpu")).double()
    error = 4 * math.sqrt(p * (1 - p) / shape.numel())
    assert float(mask.mean()) == pytest.approx(p, abs=max(error, 1e-9))
    for n in range(4):  # each of the four entries of a 64-bit draw, and independence of neighbors
        part = mask.flatten()[n::4]
        assert float(part.mean()) == pytest.approx(p, abs=max(3 * error, 1e-9))
    both = (mask[..., 1:] * mask[..., :-1]).mean()
    assert float(both) == pytest.approx(p**2, abs=max(2 * error, 1e-9))


def test_product_attention_applies_dropout_to_the_product() -> None:
    torch.manual_seed(0)
    attention = ProductAttention(feature_size=5, question_size=4, hidden_size=64, dropout=0.25)
    features, question = torch.randn(1, 1, 5), torch.randn(1, 4)
    joint = attention.region(features).relu() * attention.question(question).unsqueeze(1)
    score = attention.eval()(features, question).detach()
    torch.testing.assert_close(score, attention.score(joint).squeeze(-1))
    samples = attention.train()(features.expand(20000, 1, 5), question.expand(20000, 4)).detach()
    products = (joint * attention.score.weight).flatten().detach()
    assert float(samples.mean()) == pytest.approx(float(score), abs=0.01)
    variance = float((products**2).sum()) * 0.25 / 0.75
    assert float(samples.var()) == pytest.approx(variance, rel=0.05)


def gated(layer: GatedTanh, x: list[float]) -> list[float]:
    value = times(layer.value.weight, x, layer.value.bias)
    gate = times(layer.gate.weight, x, layer.gate.bias)
    return [math.tanh(v) * sigmoid(g) for v, g in zip(value, gate, strict=True)]


@pytest.mark.parametrize("name", sorted(VQA_MODELS))
def test_the_vector_of_unknown_words_is_initialized_with_zeros_and_trained(name: str) -> None:
    model = vqa_model(name)
    assert model.encoder.word.weight[UNKNOWN].eq(0).all()
    words = torch.full((len(COUNTS), 3), UNKNOWN)
    model(random_regions(), words)[0].sum().backward()
    assert model.encoder.word.weight.grad[UNKNOWN].ne(0).any()


def test_gated_tanh_is_tanh_times_a_gate() -> None:
    torch.manual_seed(0)
    layer, x = GatedTanh(4, 3), torch.randn(2, 4)
    torch.testing.assert_close(layer(x), torch.tensor([gated(layer, row) for row in x.tolist()]))


def test_gated_tanh_is_initialized_by_glorots_rule_with_the_gain_of_tanh() -> None:
    torch.manual_seed(0)
    layer = GatedTanh(300, 500)
    glorot = (2 / (300 + 500)) ** 0.5
    assert float(layer.value.weight.detach().std()) == pytest.approx(5 / 3 * glorot, rel=0.02)
    assert float(layer.gate.weight.detach().std()) == pytest.approx(glorot, rel=0.02)


@torch.no_grad()
def test_two_stream_model_equals_its_equations() -> None:
    """Teney et al. 2018, sections 3.2 to 3.6, one question and region at a time."""
    model, regions, words = vqa_model("teney"), random_regions(), random_words()[:, 0]
    logits, weights = model(regions, words)
    glimpse, out = model.glimpse, model.classifier
    for b, count in enumerate(COUNTS):
        question = model.encoder(words[b : b + 1])[0].tolist()
        unit = []
        for region in regions.features[b, :count].tolist():
            norm = math.sqrt(sum(v * v for v in region))
            unit.append([v / norm for v in region])
        attention = glimpse.attention
        scores = []
        for region in unit:
            hidden = gated(attention.joint, region + question)
            scores += times(attention.score.weight, hidden, attention.score.bias)
        total = sum(math.exp(s) for s in scores)
        alpha = [math.exp(s) / total for s in scores]
        v_hat = [sum(w * region[d] for w, region in zip(alpha, unit, strict=True)) for d in range(7)]
        f_q, f_v = gated(glimpse.question, question), gated(glimpse.region, v_hat)
        joint = [q * v for q, v in zip(f_q, f_v, strict=True)]
        text = times(out.text.weight, gated(out.to_text, joint))
        image = times(out.image.weight, gated(out.to_image, joint))
        expected = torch.tensor([t + i for t, i in zip(text, image, strict=True)])
        torch.testing.assert_close(logits[b], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(weights[b, :count], torch.tensor(alpha), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@settings(max_examples=25, deadline=None)
@given(
    words=st.lists(st.lists(st.integers(0, V - 1), min_size=5, max_size=5), min_size=1, max_size=6),
    frozen=st.booleans(),
)
def test_the_last_state_is_that_of_a_plain_loop_for_any_padding(cell, words, frozen) -> None:
    torch.manual_seed(0)
    encoder = QuestionEncoder(vocabulary_size=V, word_size=3, question_size=H, cell=cell, frozen_copy=frozen)
    questions = torch.tensor(words)
    last = encoder(questions)
    torch.testing.assert_close(last, encoder.states(questions)[:, -1], atol=1e-6, rtol=1e-5)
    weights = torch.randn(last.shape)
    fast = torch.autograd.grad((last * weights).sum(), encoder.recurrent.parameters())
    slow = torch.autograd.grad(
        (encoder.states(questions)[:, -1] * weights).sum(), encoder.recurrent.parameters()
    )
    for ours, theirs in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_question_without_words_attends_to_its_padding() -> None:
    words = torch.tensor([[0, 3, 0], [0, 0, 0]])
    assert word_mask(words).tolist() == [[False, True, False], [True, True, True]]
    logits, weights = vqa_model("mcan")(random_regions([2, 3]), words)
    assert logits.isfinite().all()
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


def test_a_frozen_copy_keeps_the_initial_word_vectors() -> None:
    encoder = QuestionEncoder(vocabulary_size=V, word_size=3, question_size=H, frozen_copy=True)
    encoder.init_vectors(torch.ones(V, 3))
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=1.0)
    encoder(torch.tensor([[0, 1, 2]])).sum().backward()
    optimizer.step()
    assert encoder.frozen.weight[1:].eq(1).all()
    assert not encoder.frozen.weight[0].any()
    assert not encoder.word.weight[1:3].eq(1).all()


def test_initial_bilinear_attention_is_as_uneven_as_that_of_its_authors() -> None:
    torch.manual_seed(0)
    attention = BilinearAttention(
        feature_size=5, question_size=H, joint_size=384, glimpses=8, dropout=0.0, joint_dropout=0.0
    )
    weight = attention.score.weight.detach()
    assert float(weight.std()) == pytest.approx(
        1, rel=0.05
    )  # N(0, 1), so that its norm is about sqrt(8 * 384)
    assert float(weight.norm()) == pytest.approx((8 * 384) ** 0.5, rel=0.05)
    assert attention.score.bias.abs().min() > 0
