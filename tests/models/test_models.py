"""Models against slow references, and what must not change their results."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.models.answerer import QuestionOnlyAnswerer, UpDownAnswerer
from bua.models.attention import ConcatAttention, MeanPooling, ProductAttention, masked_mean, masked_softmax
from bua.models.captioner import MeanPooledCaptioner, UpDownCaptioner

SIZES = {"feature_size": 7, "vocabulary_size": 11, "word_size": 6, "hidden_size": 8, "dropout": 0.3}
B, K, N, T = 3, 5, 2, 4
COUNTS = [5, 2, 4]


def attentions() -> dict[str, torch.nn.Module]:
    sizes = {"feature_size": 7, "question_size": 8, "hidden_size": 8}
    return {
        "product": ProductAttention(**sizes, dropout=0.2),
        "concat": ConcatAttention(**sizes),
        "mean": MeanPooling(),
    }


def captioner(kind: str):
    torch.manual_seed(0)
    if kind == "updown":
        return UpDownCaptioner(**SIZES, attention_size=5).eval()
    return MeanPooledCaptioner(**SIZES).eval()


def answerer(kind: str):
    torch.manual_seed(0)
    sizes = {"vocabulary_size": 11, "answers": 6, "word_size": 6, "hidden_size": 8, "dropout": 0.3}
    if kind == "blind":
        return QuestionOnlyAnswerer(**sizes).eval()
    return UpDownAnswerer(feature_size=7, attention=attentions()[kind], **sizes).eval()


CAPTIONERS = ["updown", "mean"]
ANSWERERS = ["product", "concat", "mean", "blind"]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(B, K, 7, generator=generator)
    mask = torch.arange(K) < torch.tensor(COUNTS)[:, None]
    words = torch.randint(1, 11, (B, N, T), generator=generator)
    return features, mask, words


def test_there_are_models() -> None:
    assert CAPTIONERS
    assert len(ANSWERERS) == len(attentions()) + 1


@pytest.mark.parametrize("kind", CAPTIONERS)
@torch.no_grad()
def test_steps_and_teacher_forcing_agree(kind: str, batch) -> None:
    model, (features, mask, words) = captioner(kind), batch
    memory = model.encode(features, mask)
    state = model.start(memory, N)
    for t in range(T):
        logits, weights, state = model.step(words[:, :, t], memory, state)
        torch.testing.assert_close(logits, model(features, mask, words)[:, :, t])
        torch.testing.assert_close(weights.sum(-1), torch.ones(B, N))
        assert not weights[~mask.unsqueeze(1).expand_as(weights)].any()


@torch.no_grad()
def test_updown_equals_the_equations_one_image_and_word_at_a_time(batch) -> None:
    """Anderson et al. 2018, equations 1 to 6, with the projections of the preset."""
    model, (features, mask, words) = captioner("updown"), batch
    fast = model(features, mask, words)
    for b in range(B):
        v = [model.region(features[b, k]).relu() for k in range(COUNTS[b])]
        mean = model.mean(sum(features[b, k] for k in range(COUNTS[b])) / COUNTS[b]).relu()
        for n in range(N):
            h1 = c1 = h2 = c2 = torch.zeros(1, 8)
            for t in range(T):
                x = model.word(words[b, n, t]).relu()
                h1, c1 = model.attention_lstm(torch.cat([h2[0], mean, x])[None], (h1, c1))
                scores = [
                    float(model.attention.score(torch.tanh(model.key(r) + model.attention.query(h1[0]))))
                    for r in v
                ]
                total = sum(math.exp(s) for s in scores)
                attended = sum(math.exp(s) / total * r for s, r in zip(scores, v, strict=True))
                h2, c2 = model.language_lstm(torch.cat([attended, h1[0]])[None], (h2, c2))
                torch.testing.assert_close(fast[b, n, t], model.logits(h2[0]), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_mean_pooled_captioner_equals_an_lstm_over_mean_and_word(batch) -> None:
    model, (features, mask, words) = captioner("mean"), batch
    fast = model(features, mask, words)
    for b in range(B):
        mean = model.mean(features[b, : COUNTS[b]].mean(0)).relu()
        for n in range(N):
            h = c = torch.zeros(1, 8)
            for t in range(T):
                x = model.word(words[b, n, t]).relu()
                h, c = model.lstm(torch.cat([mean, x])[None], (h, c))
                torch.testing.assert_close(fast[b, n, t], model.logits(h[0]), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_question_encoder_reads_padding_as_a_zero_vector() -> None:
    model = answerer("product").encoder
    words = torch.tensor([[0, 0, 3, 4]])
    h = torch.zeros(1, 1, 8)
    for word in words[0]:
        vector = model.word.weight[word] if word else torch.zeros(6)
        _, h = model.gru(vector.view(1, 1, -1), h)
    torch.testing.assert_close(model(words), h[0])


def outputs(model, features, mask, words):
    if words.dim() == 3:
        return (model(features, mask, words),)
    return model(features, mask, words)


EVERY = [(captioner, kind) for kind in CAPTIONERS] + [(answerer, kind) for kind in ANSWERERS]


@pytest.mark.parametrize(("make", "kind"), EVERY)
@torch.no_grad()
def test_what_stands_in_the_padding_changes_nothing(make, kind, batch) -> None:
    model, (features, mask, words) = make(kind), batch
    words = words if make is captioner else words[:, 0]
    filled = features.masked_fill(~mask.unsqueeze(-1), 99.0)
    torch.testing.assert_close(outputs(model, filled, mask, words), outputs(model, features, mask, words))


@pytest.mark.parametrize(("make", "kind"), EVERY)
@torch.no_grad()
def test_a_batch_gives_what_each_image_alone_gives(make, kind, batch) -> None:
    model, (features, mask, words) = make(kind), batch
    words = words if make is captioner else words[:, 0]
    together = outputs(model, features, mask, words)[0]
    for b, count in enumerate(COUNTS):
        alone = outputs(model, features[b : b + 1, :count], mask[b : b + 1, :count], words[b : b + 1])[0]
        torch.testing.assert_close(together[b], alone[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("make", "kind"), EVERY)
@torch.no_grad()
def test_the_order_of_regions_changes_nothing(make, kind, batch) -> None:
    model, (features, mask, words) = make(kind), batch
    words = words if make is captioner else words[:, 0]
    order = torch.tensor([3, 0, 4, 2, 1])
    first = outputs(model, features, mask, words)[0]
    torch.testing.assert_close(outputs(model, features[:, order], mask[:, order], words)[0], first)


@pytest.mark.parametrize(("make", "kind"), EVERY)
def test_every_parameter_gets_a_gradient_and_the_model_can_be_copied(make, kind, batch) -> None:
    model, (features, mask, words) = make(kind), batch
    words = words if make is captioner else words[:, 0]
    model = copy.deepcopy(model)
    outputs(model, features, mask, words)[0].square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@settings(max_examples=30, deadline=None)
@given(scores=st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=6), real=st.integers(1, 6))
def test_masked_softmax_is_the_softmax_of_the_real_ones(scores, real) -> None:
    real = min(real, len(scores))
    mask = torch.arange(len(scores)) < real
    weights = masked_softmax(torch.tensor([scores]), mask[None])[0]
    torch.testing.assert_close(weights[:real], torch.tensor(scores[:real]).softmax(0))
    assert not weights[real:].any()


def test_masked_mean_divides_by_the_real_regions(batch) -> None:
    features, mask, _ = batch
    for b, count in enumerate(COUNTS):
        torch.testing.assert_close(masked_mean(features, mask)[b], features[b, :count].mean(0))


def test_weight_norm_has_one_norm_a_matrix() -> None:
    layer = answerer("product").question[0]
    assert layer.parametrizations.weight.original0.numel() == 1
