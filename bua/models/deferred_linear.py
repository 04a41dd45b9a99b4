"""Linear maps that a recurrence applies at every time step, with one weight gradient for all steps.

Ordinary backpropagation computes a gradient of the size of the weight at every step and accumulates it.
Here each step only stores its input and the gradient of its output, and the gradient of the weight is a
single matrix product over all steps: the same sum for a fraction of the memory traffic.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LinearMap = Callable[[Tensor], Tensor]
#: What the backward pass of each step stores: id of the backward pass, input, gradient of the output.
StepGradients = list[tuple[int, Tensor, Tensor]]


def deferred_linear(weight: Float[Tensor, "O I"]) -> LinearMap:
    """Return ``x -> weight @ x`` for many applications before one backward pass.

    Second derivatives are not supported and raise an error. Without gradients, under autocast and inside
    a compiled graph this is ``torch.nn.functional.linear``. A compiled captioner calls the deferred map
    outside of its graphs: only the operations between such maps are compiled.

    Args:
        weight: Weight of the map.
    """
    no_gradient = not (torch.is_grad_enabled() and weight.requires_grad) or weight.is_meta
    if no_gradient or torch.compiler.is_compiling() or torch.is_autocast_enabled(weight.device.type):
        return lambda x: F.linear(x, weight)
    steps: StepGradients = []
    shared_weight = _Weight.apply(weight, steps)

    def linear(x: Tensor) -> Tensor:
        out: Tensor = _Linear.apply(x, shared_weight, steps)
        return out

    eager: LinearMap = torch.compiler.disable(linear)  # type: ignore[no-untyped-call]
    return eager


def _backward_pass_id() -> int:
    """Return the id of the backward pass that is running."""
    return int(torch._C._current_graph_task_id())


class _Weight(Function):
    """The weight itself; autograd runs its backward after the backward of every step."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, steps: StepGradients) -> Tensor:
        ctx.steps = steps
        ctx.set_materialize_grads(False)
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *_: None) -> tuple[Tensor | None, None]:
        # an earlier pass that stopped before the weight may have left its steps here
        current = _backward_pass_id()
        pairs = [(x, gradient) for pass_id, x, gradient in ctx.steps if pass_id == current]
        ctx.steps.clear()
        if not pairs:
            return None, None
        inputs, gradients = ([part.flatten(0, -2) for part in parts] for parts in zip(*pairs, strict=True))
        return torch.cat(gradients).t() @ torch.cat(inputs), None


class _Linear(Function):
    """The map of one step; it leaves the gradient of the weight to ``_Weight``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, steps: StepGradients) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.steps = steps
        return F.linear(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        ctx.steps.append((_backward_pass_id(), x, gradient))
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, None
