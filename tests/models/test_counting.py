"""The counting module against loops written from the equations of Zhang et al. 2018, alone and in models."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.models.vqa.counting import Counter, CountLayer, PiecewiseLinear
from tests.helpers.models import COUNTS, random_regions, random_words, vqa_model
from tests.models.test_vqa_references import sigmoid, times


def piecewise(weights: list[float], x: float) -> float:
    """Zhang et al. 2018, equation 17: whole pieces below x, and a share of the one that x is in."""
    widths = [abs(w) for w in weights]
    pieces = len(widths) - 1
    out, place = widths[0], x * pieces
    for n in range(1, pieces + 1):
        out += widths[n] * min(max(place - (n - 1), 0), 1)
    return out / sum(widths)


@settings(max_examples=50, deadline=None)
@given(x=st.floats(0, 1), weights=st.lists(st.floats(0.1, 3), min_size=3, max_size=8))
def test_piecewise_linear_functions_interpolate(x: float, weights: list[float]) -> None:
    function = PiecewiseLinear(len(weights) - 1)
    with torch.no_grad():
        function.weight.copy_(torch.tensor(weights))
        assert float(function(torch.tensor(x))) == pytest.approx(piecewise(weights, x), abs=1e-5)


def test_a_new_piecewise_linear_function_changes_nothing() -> None:
    x = torch.linspace(0, 1, 37)
    torch.testing.assert_close(PiecewiseLinear()(x), x)


def overlap(a: list[float], b: list[float]) -> float:
    sides = [max(min(a[n + 2], b[n + 2]) - max(a[n], b[n]), 0) for n in range(2)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - sides[0] * sides[1]
    return sides[0] * sides[1] / union if union else 0.0


def count(counter: Counter, boxes: list[list[float]], scores: list[float]) -> list[float]:
    """Zhang et al. 2018, section 4, in their order; as many boxes as the counter looks at."""
    f = [partial(piecewise, function.weight.tolist()) for function in counter.f]
    n = counter.objects
    a = [sigmoid(s) for s in scores]
    d = [[1 - overlap(p, q) for q in boxes] for p in boxes]
    edges = [[f[0](a[i] * a[j]) * f[1](d[i][j]) for j in range(n)] for i in range(n)]
    x = [[f[3](a[i] * a[j]) * f[4](d[i][j]) for j in range(n)] for i in range(n)]
    alike = [[f[2](1 - abs(a[i] - a[j])) for j in range(n)] for i in range(n)]
    for i in range(n):
        for j in range(n):
            for k in range(n):
                alike[i][j] *= f[2](1 - abs(x[i][k] - x[j][k]))
    share = [sum(row) for row in alike]
    total = sum(edges[i][j] / (share[i] * share[j]) for i in range(n) for j in range(n))
    total += sum(f[0](a[i] * a[i]) / share[i] for i in range(n))
    c = min(math.sqrt(total), n)
    unsure = sum(abs(f[5](v) - 0.5) for v in a) / n
    unsure += sum(abs(f[6](v) - 0.5) for row in d for v in row) / n**2
    one_hot = [0.0] * (n + 1)
    one_hot[int(c)] = 1 - (c - int(c))
    if int(c) < n:
        one_hot[int(c) + 1] = c - int(c)
    return [f[7](unsure) * v for v in one_hot]


@torch.no_grad()
def test_counting_is_what_its_equations_say() -> None:
    torch.manual_seed(0)
    counter, boxes, scores = Counter(objects=4), torch.rand(5, 6, 4), torch.randn(5, 6) * 3
    for function in counter.f:
        function.weight[1:].uniform_(0.2, 2)
    boxes[..., 2:] = boxes[..., :2] + boxes[..., 2:]
    counted = counter(boxes, scores, torch.ones(5, 6, dtype=torch.bool))
    for b in range(5):
        best = sorted(range(6), key=lambda k: -float(scores[b, k]))[:4]
        slow = count(counter, boxes[b, best].tolist(), scores[b, best].tolist())
        torch.testing.assert_close(counted[b], torch.tensor(slow), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("wanted", range(5))
@torch.no_grad()
def test_apart_things_are_counted_and_twice_the_same_box_counts_once(wanted: int) -> None:
    corner = torch.arange(4.0).unsqueeze(1).expand(4, 2)
    apart = torch.cat([corner, corner + 1], 1)
    boxes = torch.cat([apart, apart[:1]])  # the first once more
    scores = torch.full((5,), -50.0)
    scores[:wanted] = 50.0
    scores[4] = scores[0]
    counted = Counter(objects=5)(boxes[None], scores[None], torch.ones(1, 5, dtype=torch.bool))
    assert int(counted.argmax()) == wanted


def added(counts: CountLayer, boxes: list[list[float]], scores: list[float]) -> list[float]:
    """Return what a model adds for its count of the regions of highest score, as ReLU of a layer."""
    order = sorted(range(len(scores)), key=lambda k: -scores[k])[: counts.counter.objects]
    missing = counts.counter.objects - len(order)
    looked = [boxes[k] for k in order] + [[0.0] * 4] * missing
    counted = count(counts.counter, looked, [scores[k] for k in order] + [-60.0] * missing)
    linear = counts.layer[0]
    return [max(value, 0.0) for value in times(linear.weight, counted, linear.bias)]


@torch.no_grad()
def learnt(kind: str):
    """Return a model whose counter is no longer as it begins, and whose counts weigh something."""
    model = vqa_model(kind)
    counts = model.counts if kind.startswith("mcan") else model.glimpse.counts
    for function in counts.counter.f:
        function.weight[1:].uniform_(0.2, 2)
    counts.layer[0].bias.add_(0.5)
    return model, counts


@pytest.mark.parametrize("kind", ["product counting", "openvqa counting", "teney counting"])
@torch.no_grad()
def test_a_count_by_the_scores_of_attention_is_added_to_the_product_of_question_and_region(kind: str) -> None:
    model, counts = learnt(kind)
    regions, words, seen = random_regions(), random_words()[:, 0], {}
    parts = {
        "scores": model.glimpse.attention,
        "asked": model.glimpse.question,
        "image": model.glimpse.region,
    }
    for name, part in parts.items():
        part.register_forward_hook(lambda _, given, out, name=name: seen.update({name: out}))
    model.classifier.register_forward_pre_hook(lambda _, given: seen.update(joint=given[0]))
    model(regions, words)
    for b, real in enumerate(COUNTS):
        more = added(counts, regions.boxes[b, :real].tolist(), seen["scores"][b, :real].tolist())
        assert max(more) > 0.01
        wanted = seen["asked"][b] * seen["image"][b] + torch.tensor(more)
        torch.testing.assert_close(seen["joint"][b], wanted, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_mcan_adds_its_count_to_the_flat_question_and_image() -> None:
    model, counts = learnt("mcan counting")
    regions, words, seen = random_regions(), random_words()[:, 0], {}
    model.flatten_words.register_forward_hook(lambda _, given, out: seen.update(asked=out[0]))
    model.flatten_regions.register_forward_hook(
        lambda _, given, out: seen.update(image=out[0], scores=out[1])
    )
    model.norm.register_forward_pre_hook(lambda _, given: seen.update(joint=given[0]))
    model(regions, words)
    for b, real in enumerate(COUNTS):
        more = added(counts, regions.boxes[b, :real].tolist(), seen["scores"][b, :real].tolist())
        assert max(more) > 0.01
        wanted = seen["asked"][b] + seen["image"][b] + torch.tensor(more)
        torch.testing.assert_close(seen["joint"][b], wanted, atol=1e-5, rtol=1e-4)
