"""The weight gradient of all steps of a recurrence is the sum of the gradients of each."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from bua.models.attention import deferred_linear


def recurrence(linear, x, steps: int, used: int):
    """Apply a map repeatedly; only the first ``used`` results contribute to the output."""
    total = x.new_zeros(())
    for n in range(steps):
        x = linear(x).tanh()
        if n < used:
            total = total + (x * (n + 1)).square().sum()
    return total


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(0, 5),
    used=st.integers(0, 5),
    rows=st.integers(1, 3),
    leaf=st.booleans(),
)
def test_gradients_are_those_of_ordinary_linear_maps(seed, steps, used, rows, leaf) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, rows, 4, generator=generator, dtype=torch.float64, requires_grad=leaf)
    gradients = []
    for make in (deferred_linear, lambda w: lambda x: F.linear(x, w)):
        total = recurrence(make(weight * 1.5), x, steps, used) + weight.sum()
        gradients.append(torch.autograd.grad(total, [weight, x] if leaf and steps and used else [weight]))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_second_backward_pass_gives_the_same_gradient() -> None:
    weight = torch.randn(3, 3, requires_grad=True)
    total = recurrence(deferred_linear(weight), torch.randn(1, 2, 3), 3, 3)
    first = torch.autograd.grad(total, weight, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(total, weight)[0], first)


def test_a_backward_pass_that_stops_before_the_weight_leaves_no_gradients() -> None:
    weight, x = torch.randn(3, 3, requires_grad=True), torch.randn(1, 2, 3, requires_grad=True)
    total = recurrence(deferred_linear(weight), x, 3, 3)
    torch.autograd.grad(total, x, retain_graph=True)
    plain = recurrence(lambda x: F.linear(x, weight), x, 3, 3)
    torch.testing.assert_close(torch.autograd.grad(total, weight), torch.autograd.grad(plain, weight))


def test_second_derivatives_raise_an_error() -> None:
    weight, x = torch.randn(3, 3, requires_grad=True), torch.randn(1, 2, 3, requires_grad=True)
    total = recurrence(deferred_linear(weight), x, 3, 3)
    (gradient,) = torch.autograd.grad(total, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("case", ["no gradient", "frozen", "mixed precision"])
def test_otherwise_it_is_an_ordinary_linear_map(case) -> None:
    weight, x = torch.randn(3, 3, requires_grad=case != "frozen"), torch.randn(2, 3)
    mixed = case == "mixed precision"
    with torch.set_grad_enabled(case != "no gradient"), torch.autocast("cpu", enabled=mixed):
        out = deferred_linear(weight)(x)
        assert out.dtype == (torch.bfloat16 if mixed else torch.float32)
        torch.testing.assert_close(out, F.linear(x, weight))
