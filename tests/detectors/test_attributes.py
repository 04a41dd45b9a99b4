"""The attribute loss against a slow loop over the labels in its definition."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from bua.detectors.rcnn import attribute_loss

SLOTS = 16
ATTRIBUTES = 20


def slow_loss(logits: list[list[float]], slots: list[list[int]]) -> float:
    """Average over the labels of each region (-1 is no label), then over the regions that have one."""
    total, regions = 0.0, 0
    for row, labels in zip(logits, slots, strict=True):
        real = [label for label in labels if label != -1]
        norm = math.log(sum(math.exp(value) for value in row))
        total += sum(norm - row[label] for label in real) / len(real) if real else 0.0
        regions += bool(real)
    return total / max(regions, 1)


LABELS = st.sets(st.integers(1, ATTRIBUTES), max_size=SLOTS).map(sorted)


@given(regions=st.lists(st.tuples(LABELS, st.booleans()), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_loss_and_gradient_equal_the_definition(regions, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(regions), ATTRIBUTES + 1, generator=generator, dtype=torch.float64) * 3
    slots = [
        (labels or ([0] if annotated else [])) + [-1] * (SLOTS - max(len(labels), int(annotated)))
        for labels, annotated in regions
    ]
    targets = torch.zeros(logits.shape, dtype=torch.bool)
    for row, labels in enumerate(slots):
        targets[row, [label for label in labels if label != -1]] = True
    logits.requires_grad_()
    loss = attribute_loss(logits, targets)
    assert math.isclose(loss.item(), slow_loss(logits.tolist(), slots), abs_tol=1e-12)
    loss.backward()
    for row in range(len(regions)):
        changed = logits.detach().clone()
        changed[row, 0] += 1e-6
        slope = (slow_loss(changed.tolist(), slots) - loss.item()) / 1e-6
        assert math.isclose(logits.grad[row, 0].item(), slope, abs_tol=1e-5)


def test_an_object_without_attributes_trains_no_attribute_and_an_unlabeled_one_is_ignored() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    targets = torch.tensor([[True, False, False], [False, False, False]])
    attribute_loss(logits, targets).backward()
    assert logits.grad[0, 0] < 0
    assert logits.grad[1].abs().sum() == 0


def test_an_attribute_of_probability_zero_leaves_the_loss_finite() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 5.0]])
    assert torch.isfinite(attribute_loss(logits, torch.tensor([[False, False, True]])))
