"""Linear maps that a recurrence applies at every step, with one gradient for all steps.

Ordinary backpropagation makes a gradient as large as the weight at every step and adds it to the last.
Here a step keeps its input and the gradient of its output, and the weight's gradient is one product over
all of them: the same sum, with a fraction of the memory traffic.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

#: The backward pass, the input and the gradient of the output, one of a step.
Kept = list[tuple[int, Tensor, Tensor]]


def deferred_linear(weight: Float[Tensor, "O I"]) -> Callable[[Float[Tensor, "*S I"]], Float[Tensor, "*S O"]]:
    """Return the linear map of a weight, to be applied many times before one backward pass.

    Second derivatives are not there: asking for them is an error. Mixed precision has its own way with a
    linear map, and is left to it. What is compiled is what stands between these maps.
    """
    plain = not (torch.is_grad_enabled() and weight.requires_grad) or weight.is_meta
    if plain or torch.compiler.is_compiling() or torch.is_autocast_enabled(weight.device.type):
        return lambda x: F.linear(x, weight)
    kept: Kept = []
    shared = _Weight.apply(weight, kept)

    def linear(x: Tensor) -> Tensor:
        out: Tensor = _Linear.apply(x, shared, kept)
        return out

    apart: Callable[[Tensor], Tensor] = torch.compiler.disable(linear)  # type: ignore[no-untyped-call]
    return apart


def _this_pass() -> int:
    """Return the number of the backward pass that is running."""
    return int(torch._C._current_graph_task_id())


class _Weight(Function):
    """The weight itself; its backward comes when those of all steps have been."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, kept: Kept) -> Tensor:
        ctx.kept = kept
        ctx.set_materialize_grads(False)
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *_: None) -> tuple[Tensor | None, None]:
        # another pass may have left its pairs here: one that did not come as far as the weight
        now = _this_pass()
        pairs = [(x, gradient) for which, x, gradient in ctx.kept if which == now]
        ctx.kept.clear()
        if not pairs:
            return None, None
        inputs, gradients = ([part.flatten(0, -2) for part in parts] for parts in zip(*pairs, strict=True))
        return torch.cat(gradients).t() @ torch.cat(inputs), None


class _Linear(Function):
    """One step; it leaves the gradient of the weight to ``_Weight``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kept: Kept) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.kept = kept
        return F.linear(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        ctx.kept.append((_this_pass(), x, gradient))
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, None
