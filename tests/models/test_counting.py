"""The counting module against the equations of Zhang et al. 2018, alone and in models."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.models.vqa.counting import Counter, CountLayer, PiecewiseLinear
from tests.helpers.models import COUNTS, random_regions, random_words, vqa_model
from tests.helpers.slow_layers import sigmoid, times


def piecewise(weights: list[float], x: float) -> float:
    """Zhang et al. 2018, equation 17: the pieces below x, and a fraction of the one that contains x."""
    widths = [abs(w) for w in weights]
    pieces = len(widths) - 1
    out, position = widths[0], x * pieces
    for n in range(1, pieces + 1):
        out += widths[n] * min(max(position - (n - 1), 0), 1)
    return out / sum(widths)


@settings(max_examples=50, deadline=None)
@given(x=st.floats(0, 1), weights=st.lists(st.floats(0.1, 3), min_size=3, max_size=8))
def test_piecewise_linear_functions_interpolate(x: float, weights: list[float]) -> None:
    function = PiecewiseLinear(len(weights) - 1)
    with torch.no_grad():
        function.weight.copy_(torch.tensor(weights))
        assert float(function(torch.tensor(x))) == pytest.approx(piecewise(weights, x), abs=1e-5)


def test_a_new_piecewise_linear_function_is_the_identity() -> None:
    x = torch.linspace(0, 1, 37)
    torch.testing.assert_close(PiecewiseLinear()(x), x)


def iou(a: list[float], b: list[float]) -> float:
    intersection = [max(min(a[n + 2], b[n + 2]) - max(a[n], b[n]), 0) for n in range(2)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - intersection[0] * intersection[1]
    return intersection[0] * intersection[1] / union if union else 0.0


def count(counter: Counter, boxes: list[list[float]], scores: list[float]) -> list[float]:
    """Zhang et al. 2018, section 4, in their order; for exactly as many boxes as the counter considers."""
    f = [partial(piecewise, function.weight.tolist()) for function in counter.f]
    n = counter.objects
    a = [sigmoid(s) for s in scores]
    d = [[1 - iou(p, q) for q in boxes] for p in boxes]
    edges = [[f[0](a[i] * a[j]) * f[1](d[i][j]) for j in range(n)] for i in range(n)]
    x = [[f[3](a[i] * a[j]) * f[4](d[i][j]) for j in range(n)] for i in range(n)]
    similarity = [[f[2](1 - abs(a[i] - a[j])) for j in range(n)] for i in range(n)]
    for i in range(n):
        for j in range(n):
            for k in range(n):
                similarity[i][j] *= f[2](1 - abs(x[i][k] - x[j][k]))
    duplicates = [sum(row) for row in similarity]
    total = sum(edges[i][j] / (duplicates[i] * duplicates[j]) for i in range(n) for j in range(n))
    total += sum(f[0](a[i] * a[i]) / duplicates[i] for i in range(n))
    c = min(math.sqrt(total), n)
    confidence = sum(abs(f[5](v) - 0.5) for v in a) / n
    confidence += sum(abs(f[6](v) - 0.5) for row in d for v in row) / n**2
    one_hot = [0.0] * (n + 1)
    one_hot[int(c)] = 1 - (c - int(c))
    if int(c) < n:
        one_hot[int(c) + 1] = c - int(c)
    return [f[7](confidence) * v for v in one_hot]


@torch.no_grad()
def test_the_counter_equals_its_equations() -> None:
    torch.manual_seed(0)
    counter, boxes, scores = Counter(objects=4), torch.rand(5, 6, 4), torch.randn(5, 6) * 3
    for function in counter.f:
        function.weight[1:].uniform_(0.2, 2)
    boxes[..., 2:] = boxes[..., :2] + boxes[..., 2:]
    counts = counter(boxes, scores, torch.ones(5, 6, dtype=torch.bool))
    for b in range(5):
        best = sorted(range(6), key=lambda k: -float(scores[b, k]))[:4]
        slow = count(counter, boxes[b, best].tolist(), scores[b, best].tolist())
        torch.testing.assert_close(counts[b], torch.tensor(slow), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("expected", range(5))
@torch.no_grad()
def test_separate_objects_are_counted_and_a_duplicate_box_is_not(expected: int) -> None:
    corner = torch.arange(4.0).unsqueeze(1).expand(4, 2)
    separate = torch.cat([corner, corner + 1], 1)
    boxes = torch.cat([separate, separate[:1]])  # the last box duplicates the first
    scores = torch.full((5,), -50.0)
    scores[:expected] = 50.0
    scores[4] = scores[0]
    counts = Counter(objects=5)(boxes[None], scores[None], torch.ones(1, 5, dtype=torch.bool))
    assert int(counts.argmax()) == expected


def count_features(layer: CountLayer, boxes: list[list[float]], scores: list[float]) -> list[float]:
    """Return the features that a model adds for its count of the regions with the largest scores."""
    order = sorted(range(len(scores)), key=lambda k: -scores[k])[: layer.counter.objects]
    missing = layer.counter.objects - len(order)
    top_boxes = [boxes[k] for k in order] + [[0.0] * 4] * missing
    counts = count(layer.counter, top_boxes, [scores[k] for k in order] + [-60.0] * missing)
    linear = layer.layer[0]
    return [max(value, 0.0) for value in times(linear.weight, counts, linear.bias)]


@torch.no_grad()
def with_trained_counter(kind: str):
    """Return a model with a counter other than the initial one, and its count layer."""
    model = vqa_model(kind)
    counts = model.counts if kind.startswith("mcan") else model.glimpse.counts
    for function in counts.counter.f:
        function.weight[1:].uniform_(0.2, 2)
    counts.layer[0].bias.add_(0.5)
    return model, counts


@pytest.mark.parametrize("kind", ["product counting", "openvqa counting", "teney counting"])
@torch.no_grad()
def test_count_features_are_added_to_the_product_of_question_and_region(kind: str) -> None:
    model, counts = with_trained_counter(kind)
    regions, words, outputs = random_regions(), random_words()[:, 0], {}
    parts = {
        "scores": model.glimpse.attention,
        "question": model.glimpse.question,
        "image": model.glimpse.region,
    }
    for name, part in parts.items():
        part.register_forward_hook(lambda _, inputs, out, name=name: outputs.update({name: out}))
    model.classifier.register_forward_pre_hook(lambda _, inputs: outputs.update(joint=inputs[0]))
    model(regions, words)
    for b, real in enumerate(COUNTS):
        features = count_features(
            counts, regions.boxes[b, :real].tolist(), outputs["scores"][b, :real].tolist()
        )
        assert max(features) > 0.01
        expected = outputs["question"][b] * outputs["image"][b] + torch.tensor(features)
        torch.testing.assert_close(outputs["joint"][b], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_mcan_adds_count_features_to_the_reduced_question_and_image() -> None:
    model, counts = with_trained_counter("mcan counting")
    regions, words, outputs = random_regions(), random_words()[:, 0], {}
    model.flatten_words.register_forward_hook(lambda _, inputs, out: outputs.update(question=out[0]))
    model.flatten_regions.register_forward_hook(
        lambda _, inputs, out: outputs.update(image=out[0], scores=out[1])
    )
    model.norm.register_forward_pre_hook(lambda _, inputs: outputs.update(joint=inputs[0]))
    model(regions, words)
    for b, real in enumerate(COUNTS):
        features = count_features(
            counts, regions.boxes[b, :real].tolist(), outputs["scores"][b, :real].tolist()
        )
        assert max(features) > 0.01
        expected = outputs["question"][b] + outputs["image"][b] + torch.tensor(features)
        torch.testing.assert_close(outputs["joint"][b], expected, atol=1e-5, rtol=1e-4)
