"""Recurrent captioners against slow transcriptions of their equations, one image and word at a time."""

import math

import pytest
import torch

from bua.models.captioners.updown_caffe import CaffeUpDownCaptioner
from bua.text.vocabulary import UNKNOWN
from tests.helpers.models import CAPTIONERS, COUNTS, H, N, T, captioner, random_regions, random_words


def attend(model, query, keys, vectors):
    """Additive attention (Anderson et al. 2018, equations 3 to 5)."""
    bias = model.attention.score.bias
    shift = 0.0 if bias is None else float(bias)
    scores = [
        math.exp(float(model.attention.score.weight[0] @ torch.tanh(key + query)) + shift) for key in keys
    ]
    weights = [score / sum(scores) for score in scores]
    return weights, sum(w * v for w, v in zip(weights, vectors, strict=True))


def linear(layer, *inputs):
    out = layer.weight @ torch.cat(inputs)
    return out if layer.bias is None else out + layer.bias


def cell(lstm, inputs, h, c):
    """A step of an LSTM with a matrix for each input."""
    gates = lstm.weight_hh @ h + lstm.bias_ih + lstm.bias_hh
    return from_gates(gates + sum(lstm.weight_ih[name] @ x for name, x in inputs.items()), c)


def from_gates(gates, c):
    i, f, g, o = gates.view(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def updown(m, v, words):
    """Anderson et al. 2018, equations 1 to 6, with the projections of self-critical.pytorch."""
    mean = linear(m.mean, sum(v) / len(v)).relu()
    v = [linear(m.region, x).relu() for x in v]
    keys = [linear(m.key, x) for x in v]
    h1 = c1 = h2 = c2 = torch.zeros(H)
    for word in words:
        h1, c1 = cell(
            m.attention_lstm, {"language": h2, "mean": mean, "word": m.word.weight[word].relu()}, h1, c1
        )
        weights, attended = attend(m, linear(m.attention.query, h1), keys, v)
        h2, c2 = cell(m.language_lstm, {"region": attended, "attention": h1}, h2, c2)
        yield linear(m.logits, h2), weights


def updown_caffe(m, v, words):
    """Anderson et al. 2018, equations 1 to 6, on raw features; no biases in the attention."""
    assert m.key.bias is m.attention.query.bias is m.attention.score.bias is None
    mean = sum(v) / len(v)
    keys = [linear(m.key, x) for x in v]
    h1 = c1 = h2 = c2 = torch.zeros(H)
    for word in words:
        h1, c1 = from_gates(
            linear(m.from_word, m.word.weight[word])
            + linear(m.from_mean, mean)
            + linear(m.from_states, h2, h1),
            c1,
        )
        weights, attended = attend(m, linear(m.attention.query, h1), keys, v)
        h2, c2 = from_gates(linear(m.language_lstm, h1, attended, h2), c2)
        yield linear(m.logits, h2), weights


def updown_caffe_fixed(m, v, words):
    """The same with tied word vectors in the output layer (Anderson et al. 2017, section 3.3)."""
    for out, weights in updown_caffe(m, v, words):
        v_out = torch.tanh(out)
        yield torch.stack([v_out @ vector for vector in m.word.weight]), weights


def updown_nocaps(m, v, words):
    """updown-baseline: PyTorch's cells read their own hidden state a second time as input."""
    assert not m.word.weight[UNKNOWN].any()
    first, second = m.attention_again, m.language_again
    mean = sum(v) / len(v)
    keys = [linear(m.key, x) for x in v]
    h1 = c1 = h2 = c2 = torch.zeros(H)
    for word in words:
        gates = linear(m.from_word, m.word.weight[word]) + linear(m.from_mean, mean)
        h1, c1 = from_gates(gates + linear(m.from_states, h2, h1) + linear(first, h1), c1)
        weights, attended = attend(m, linear(m.attention.query, h1), keys, v)
        h2, c2 = from_gates(linear(m.language_lstm, h1, attended, h2) + linear(second, h2), c2)
        yield linear(m.logits, h2), weights


def att2in(m, v, words):
    """Rennie et al. 2017, section 2.2."""
    v = [linear(m.region, x).relu() for x in v]
    keys = [linear(m.key, x) for x in v]
    h = c = torch.zeros(H)
    for word in words:
        x = m.word.weight[word].relu()
        weights, attended = attend(m, linear(m.attention.query, h), keys, v)
        gates = linear(m.from_word, x) + linear(m.from_state, h)
        i, f, o = (torch.sigmoid(gates[n * H : (n + 1) * H]) for n in range(3))
        z = linear(m.from_region, attended)
        candidate = torch.stack([gates[3 * H : 4 * H] + z[:H], gates[4 * H :] + z[H:]]).amax(0)
        c = f * c + i * candidate
        h = o * torch.tanh(c)
        yield linear(m.logits, h), weights


def soft_attention(m, v, words):
    """Xu et al. 2015, equations 1 to 7, with the gate beta of section 4.2.1."""
    mean = sum(v) / len(v)
    h, c = torch.tanh(linear(m.first_h, mean)), torch.tanh(linear(m.first_c, mean))
    keys = [linear(m.key, x) for x in v]
    for word in words:
        y = m.word.weight[word]
        weights, attended = attend(m, linear(m.attention.query, h), keys, v)
        z = torch.sigmoid(linear(m.beta, h)) * attended
        h, c = cell(m.lstm, {"word": y, "region": z}, h, c)
        yield linear(m.logits, y + linear(m.from_state, h) + linear(m.from_region, z)), weights


def mean_pooled(m, v, words):
    """An LSTM over the mean region and the word."""
    mean = linear(m.mean, sum(v) / len(v)).relu()
    h = c = torch.zeros(H)
    for word in words:
        h, c = cell(m.lstm, {"mean": mean, "word": m.word.weight[word].relu()}, h, c)
        yield linear(m.logits, h), [1 / len(v)] * len(v)


REFERENCES = [updown, updown_caffe, updown_caffe_fixed, updown_nocaps, att2in, soft_attention, mean_pooled]


def test_there_are_references() -> None:
    assert len(REFERENCES) >= 5


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda f: f.__name__)
@torch.no_grad()
def test_captioner_equals_its_equations_one_image_and_word_at_a_time(reference) -> None:
    model, regions, words = captioner(reference.__name__), random_regions(), random_words()
    fast = model(regions, words)
    memory = model.encode(regions)
    state, step_weights = model.init_state(memory, N), []
    for t in range(T):
        _, weights, state = model.step(words[:, :, t], memory, state)
        step_weights.append(weights)
    for b, count in enumerate(COUNTS):
        for n in range(N):
            slow = reference(model, list(regions.features[b, :count]), words[b, n].tolist())
            for t, (logits, weights) in enumerate(slow):
                torch.testing.assert_close(fast[b, n, t], logits, atol=1e-5, rtol=1e-4)
                torch.testing.assert_close(
                    step_weights[t][b, n, :count], torch.tensor(weights), atol=1e-6, rtol=1e-4
                )


@torch.no_grad()
def test_updown_baseline_starts_as_pytorch_makes_its_layers() -> None:
    torch.manual_seed(0)
    sizes = {"feature_size": 60, "vocabulary_size": 200, "word_size": 50, "hidden_size": 100}
    options = {"attention_size": 40, "weight_std": None, "doubled_recurrence": True, "zero_unknown": True}
    model = CaffeUpDownCaptioner(**sizes, **options)
    known = torch.arange(200) != UNKNOWN
    assert float(model.word.weight[known].std()) == pytest.approx(1, rel=0.05)
    cells = [model.from_word, model.from_mean, model.from_states, model.language_lstm]
    cells += [model.attention_again, model.language_again]
    for parameter in (p for cell in cells for p in cell.parameters()):
        assert float(parameter.abs().max()) == pytest.approx(0.1, rel=0.02)
        assert float(parameter.std()) == pytest.approx(0.1 / 3**0.5, rel=0.1)
    assert float(model.key.weight.abs().max()) == pytest.approx(60**-0.5, rel=0.02)
    assert float(model.logits.bias.abs().max()) == pytest.approx(100**-0.5, rel=0.05)


def test_the_vector_of_the_unknown_word_stays_zero() -> None:
    model, optimizer = captioner("updown_nocaps").train(), torch.optim.SGD
    words = random_words()
    assert (words[..., :-1] == UNKNOWN).any()
    step = optimizer(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        step.zero_grad()
        torch.logsumexp(model(random_regions(), words), -1).sum().backward()
        step.step()
    assert not model.word.weight[UNKNOWN].any()


@torch.no_grad()
def test_the_caffe_release_has_small_initial_weights_and_open_forget_gates() -> None:
    torch.manual_seed(0)
    model = CAPTIONERS["updown_caffe"]()
    matrices = torch.cat([p.flatten() for name, p in model.named_parameters() if "bias" not in name])
    assert float(matrices.std()) == pytest.approx(0.01, rel=0.1)
    for lstm in (model.from_word, model.language_lstm):
        assert lstm.bias.view(4, -1).sum(1).tolist() == [0, H, 0, 0]
