"""The Transformer against its equations, one image and word at a time, and the geometry of boxes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bua.models.captioners.positional_encoding import BoxGeometry, box_displacements, sinusoids
from bua.models.multihead import MultiHeadAttention
from bua.structures.region_batch import RegionBatch
from tests.helpers.models import COUNTS, N, T, captioner, random_regions, random_words, transformer

KINDS = ["transformer", "transformer_geometry"]


def norm(layer, x):
    x = (x - x.mean()) / (x.var(unbiased=False) + layer.eps).sqrt()
    return layer.weight * x + layer.bias


def multi_head(attention, x, others, factors=None):
    """Vaswani et al. 2017, section 3.2; ``factors[h][n]`` multiply exp(score) (Herdade et al. 2019)."""
    num_heads, outputs, head_weights = attention.heads, [], []
    size = len(x) // num_heads
    for h in range(num_heads):
        part = slice(h * size, (h + 1) * size)
        query = (attention.query.weight @ x + attention.query.bias)[part]
        powers = []
        for n, other in enumerate(others):
            key = (attention.key.weight @ other + attention.key.bias)[part]
            power = math.exp(float(query @ key) / math.sqrt(size))
            powers.append(power * (factors[h][n] if factors else 1.0))
        weights = [power / sum(powers) for power in powers]
        values = [(attention.value.weight @ other + attention.value.bias)[part] for other in others]
        outputs.append(sum(w * value for w, value in zip(weights, values, strict=True)))
        head_weights.append(torch.tensor(weights).double())
    return attention.out(torch.cat(outputs)), sum(head_weights) / num_heads


def factor(geometry, layer, head, one, other):
    """Return omega_G of two boxes from their corners in pixels (Herdade et al. 2019, section 3.2)."""
    (x1, y1, w1, h1), (x2, y2, w2, h2) = (
        ((a + c) / 2, (b + d) / 2, c - a, d - b) for a, b, c, d in (one.tolist(), other.tolist())
    )
    ratios = [max(abs(x1 - x2) / w1, 1e-3), max(abs(y1 - y2) / h1, 1e-3), w2 / w1, h2 / h1]
    embedding = []
    for ratio in ratios:
        angles = [100 * math.log(ratio) / 1000 ** (n / 8) for n in range(8)]
        embedding += [*map(math.sin, angles), *map(math.cos, angles)]
    row = layer * geometry.shape[1] + head
    weight = float(geometry.weight.weight[row] @ torch.tensor(embedding).double() + geometry.weight.bias[row])
    return max(weight, 1e-6)


def encode(m, features, boxes):
    x = [(m.region.weight @ f + m.region.bias).relu() for f in features]
    for n, layer in enumerate(m.encoder):
        y = [norm(layer.norms[0], one) for one in x]
        after = []
        for k, one in enumerate(x):
            factors = m.geometry and [
                [factor(m.geometry, n, h, boxes[k], box) for box in boxes] for h in range(m.heads)
            ]
            one = one + multi_head(layer.regions, y[k], y, factors)[0]
            after.append(one + layer.feed_forward(norm(layer.norms[1], one)))
        x = after
    return [norm(m.encoder_norm, one) for one in x]


def embed(m, word, t):
    half = m.model_size // 2
    angles = [t / 10000 ** (n / half) for n in range(half)]
    position = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)])
    return m.word.weight[word] * math.sqrt(m.model_size) + position


def decode(m, regions, words):
    """Return logits and attention after the last of ``words``, without a cache."""
    x = [embed(m, word, t) for t, word in enumerate(words)]
    for layer in m.decoder:
        y = [norm(layer.norms[0], one) for one in x]
        after = []
        for t, one in enumerate(x):
            one = one + multi_head(layer.words, y[t], y[: t + 1])[0]
            attended, weights = multi_head(layer.regions, norm(layer.norms[1], one), regions)
            one = one + attended
            after.append(one + layer.feed_forward(norm(layer.norms[2], one)))
        x = after
    return m.logits(norm(m.decoder_norm, x[-1])), weights


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_transformer_equals_its_equations_one_image_and_word_at_a_time(kind: str) -> None:
    """In double precision, as the sinusoids of boxes have angles of several hundred."""
    m, words = captioner(kind).double(), random_words()
    features, mask, boxes = random_regions()
    regions = RegionBatch(features.double(), mask, boxes.double())
    fast, memory = m(regions, words), m.encode(regions)
    state, step_weights = m.init_state(memory, N), []
    for t in range(T):
        _, weights, state = m.step(words[:, :, t], memory, state)
        step_weights.append(weights)
    pixels = torch.tensor([640.0, 480.0, 640.0, 480.0]).double()
    for b, count in enumerate(COUNTS):
        encoded = encode(m, regions.features[b, :count], regions.boxes[b, :count] * pixels)
        for n in range(N):
            for t in range(T):
                logits, weights = decode(m, encoded, words[b, n, : t + 1].tolist())
                torch.testing.assert_close(fast[b, n, t], logits, atol=1e-6, rtol=1e-5)
                torch.testing.assert_close(step_weights[t][b, n, :count], weights, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_step_appends_one_word_to_the_cache() -> None:
    m, regions, words = captioner("transformer"), random_regions(), random_words()
    memory = m.encode(regions)
    state = m.init_state(memory, N)
    for t in range(T):
        assert state.num_words == t
        _, _, next_state = m.step(words[:, :, t], memory, state)
        for before, after in zip(state.layers, next_state.layers, strict=True):
            torch.testing.assert_close(after.keys[..., :t, :], before.keys)
            torch.testing.assert_close(after.values[..., :t, :], before.values)
        state = next_state
    assert state.num_words == T


@torch.no_grad()
def test_boxes_matter_only_with_geometry() -> None:
    regions, words = random_regions(), random_words()
    moved = regions._replace(boxes=regions.boxes.flip(1) * regions.mask.unsqueeze(-1))
    moved.boxes[:, 0, :2] *= 0.5
    m = captioner("transformer_geometry")
    assert (m(moved, words) - m(regions, words)).abs().max() > 1e-3
    m = captioner("transformer")
    assert m(moved, words).equal(m(regions, words))


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0.5, 1.0), right=st.floats(0.0, 0.5), down=st.floats(0.0, 0.5))
def test_displacements_do_not_change_when_all_boxes_are_moved_and_scaled(scale, right, down) -> None:
    corners = torch.tensor([[0.1, 0.1, 0.3, 0.5], [0.2, 0.4, 0.9, 0.6], [0.6, 0.2, 0.8, 0.9]])[None]
    moved = corners * scale + torch.tensor([right, down, right, down])
    torch.testing.assert_close(box_displacements(moved), box_displacements(corners), atol=1e-3, rtol=1e-3)


def test_displacements_are_relative_to_the_first_box() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 0.2, 0.4], [0.4, 0.0, 0.8, 0.2]]])
    ratios = box_displacements(boxes)[0, 0, 1].exp()
    torch.testing.assert_close(ratios, torch.tensor([0.5 / 0.2, 0.1 / 0.4, 2.0, 0.5]))
    assert box_displacements(boxes)[0, 0, 0].exp().tolist() == pytest.approx([1e-3, 1e-3, 1, 1])


def test_boxes_without_area_have_finite_displacements() -> None:
    assert box_displacements(torch.zeros(1, 3, 4)).isfinite().all()
    log_weights = BoxGeometry(layers=2, heads=3)(torch.zeros(2, 4, 4))
    assert log_weights.shape == (2, 2, 3, 4, 4)
    assert log_weights.isfinite().all()


def test_sinusoids_of_different_positions_differ() -> None:
    positions = sinusoids(torch.arange(200.0), 4, 10000.0)
    assert torch.cdist(positions, positions).fill_diagonal_(1).min() > 0.1


def test_invalid_sizes_are_rejected() -> None:
    with pytest.raises(ValueError, match="model_size must be a multiple of the 3 heads, got 10"):
        MultiHeadAttention(size=10, heads=3, dropout=0.0)
    with pytest.raises(ValueError, match="model_size must be even, got 9"):
        transformer(model_size=9)
    with pytest.raises(ValueError, match="must be for 2 layers of 2 heads, got 3 layers of 2 heads"):
        transformer(geometry=BoxGeometry(layers=3, heads=2))
