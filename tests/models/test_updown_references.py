"""OpenVQA's Up-Down and the VQA baselines against slow references, one question and region at a time."""

import math

import pytest
import torch
from torch import nn

from tests.helpers.models import COUNTS, D, H, random_regions, random_words, vqa_model
from tests.helpers.slow_layers import sigmoid, times


def elu(x: float) -> float:
    return x if x > 0 else math.exp(x) - 1


def relu(x: float) -> float:
    return max(x, 0.0)


def layer(linear: nn.Module, x: list[float], activation=lambda value: value) -> list[float]:
    return [activation(value) for value in times(linear.weight, x, linear.bias)]


def classify(classifier: nn.Sequential, x: list[float]) -> torch.Tensor:
    return torch.tensor(layer(classifier[3], layer(classifier[0], x, relu)))


def lstm(network: nn.LSTM, inputs: list[list[float]]) -> list[float]:
    """Hochreiter and Schmidhuber 1997 with forget gates, in PyTorch's order of gates."""
    h, c = [0.0] * H, [0.0] * H
    for x in inputs:
        from_x = times(network.weight_ih_l0, x, network.bias_ih_l0)
        from_h = times(network.weight_hh_l0, h, network.bias_hh_l0)
        gates = [a + b for a, b in zip(from_x, from_h, strict=True)]
        i, f, g, o = (gates[n * H : (n + 1) * H] for n in range(4))
        c = [sigmoid(f[n]) * c[n] + sigmoid(i[n]) * math.tanh(g[n]) for n in range(H)]
        h = [sigmoid(o[n]) * math.tanh(c[n]) for n in range(H)]
    return h


def weighted_sum(weights: list[float], regions: list[list[float]]) -> list[float]:
    return [sum(w * region[d] for w, region in zip(weights, regions, strict=True)) for d in range(D)]


@torch.no_grad()
def test_openvqa_equals_its_equations() -> None:
    model, regions, words = vqa_model("openvqa"), random_regions(), random_words()[:, 0]
    logits, weights = model(regions, words)
    glimpse, attention = model.glimpse, model.glimpse.attention
    for b, count in enumerate(COUNTS):
        vectors = [model.encoder.word.weight[word].tolist() for word in words[b]]
        question = lstm(model.encoder.recurrent, vectors)
        features = regions.features[b, :count].tolist()
        projected = layer(attention.question, question)
        scores = []
        for region in features:
            joint = layer(attention.joint[0], layer(attention.region, region) + projected, elu)
            scores += layer(attention.score, joint)
        total = sum(math.exp(score) for score in scores)
        alpha = [math.exp(score) / total for score in scores]
        image = layer(glimpse.region[0], weighted_sum(alpha, features), elu)
        text = layer(glimpse.question[0], question, elu)
        expected = classify(model.classifier, [q * v for q, v in zip(text, image, strict=True)])
        torch.testing.assert_close(logits[b], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(weights[b, :count], torch.tensor(alpha), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_mean_pooling_multiplies_the_question_with_the_mean_region() -> None:
    model, regions, words = vqa_model("mean"), random_regions(), random_words()[:, 0]
    logits, weights = model(regions, words)
    for b, count in enumerate(COUNTS):
        question = model.encoder(words[b : b + 1])[0].tolist()
        pooled = weighted_sum([1 / count] * count, regions.features[b, :count].tolist())
        image = layer(model.glimpse.region[0], pooled, relu)
        text = layer(model.glimpse.question[0], question, relu)
        expected = classify(model.classifier, [q * v for q, v in zip(text, image, strict=True)])
        torch.testing.assert_close(logits[b], expected, atol=1e-5, rtol=1e-5)
        assert weights[b, :count].tolist() == pytest.approx([1 / count] * count)


@torch.no_grad()
def test_the_question_only_model_equals_its_equations() -> None:
    model, regions, words = vqa_model("blind"), random_regions(), random_words()[:, 0]
    logits, _ = model(regions, words)
    for b in range(len(words)):
        question = model.encoder(words[b : b + 1])[0].tolist()
        expected = classify(model.classifier, layer(model.question[0], question, relu))
        torch.testing.assert_close(logits[b], expected, atol=1e-5, rtol=1e-5)
