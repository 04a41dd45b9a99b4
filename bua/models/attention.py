"""Attention over regions, with masks of padding, and the linear maps of its recurrences.

A recurrence applies its linear maps at every time step. Ordinary backpropagation computes a gradient of the
size of the weight at every step and accumulates it. With ``deferred_linear`` each step only stores its input
and the gradient of its output, and the gradient of the weight is a single matrix product over all steps: the
same sum for a fraction of the memory traffic.

Shapes: B images, N sequences per image (captions, beams), K regions (padded), D region features,
Q question, A attention, H hidden state. A mask is true where a region is real.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from bua.models.layers import LayerFactory, WeightNormLayers, dropout_mask, weight_norm_linear

LinearMap = Callable[[Tensor], Tensor]


def masked_softmax(scores: Float[Tensor, "*S K"], mask: Bool[Tensor, "*#S K"]) -> Float[Tensor, "*S K"]:
    """Return the softmax over unmasked scores; it is 0 on padding, and everywhere if all is padding."""
    lowest = torch.finfo(torch.float32).min
    return scores.float().masked_fill(~mask, lowest).softmax(-1).masked_fill(~mask, 0).to(scores)


def uniform_weights(mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Return equal weights of the real regions."""
    return mask.float() / mask.sum(1, keepdim=True).clamp(min=1)


def masked_mean(features: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B D"]:
    """Return the mean of the real regions."""
    return torch.einsum("bk,bkd->bd", uniform_weights(mask).to(features), features)


class AdditiveAttention(nn.Module):
    """Additive attention (Anderson et al. 2018, section 3.2.1, equations 3 and 4).

    For keys W_va v_i of the regions and a hidden state h ::

        a_i   = w_a tanh(W_va v_i + W_ha h)      (3)
        alpha = softmax(a)                       (4)

    Keys are computed once per image, outside of this module.

    Args:
        state_size: H.
        attention_size: A.
        bias: Whether the query projection W_ha and the scores have biases.
    """

    def __init__(self, *, state_size: int, attention_size: int, bias: bool) -> None:
        super().__init__()
        self.query = nn.Linear(state_size, attention_size, bias=bias)
        self.score = nn.Linear(attention_size, 1, bias=bias)

    def make_query(self) -> LinearMap:
        """Return the query projection h -> W_ha h for many steps, see ``deferred_linear``."""
        project, bias = deferred_linear(self.query.weight), self.query.bias
        return project if bias is None else lambda state: project(state) + bias

    def forward(
        self, keys: Float[Tensor, "B K A"], query: Float[Tensor, "B N A"], mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B N K"]:
        """Return the attention alpha of every sequence over the regions of its image."""
        hidden = torch.tanh(keys.unsqueeze(1) + query.unsqueeze(2))
        return masked_softmax(self.score(hidden).squeeze(-1), mask.unsqueeze(1))


class ProductAttention(nn.Module):
    """Attention scores w dropout(f_v(v_i) * f_q(q)), the "new attention" of hengyuan-hu's Up-Down model.

    f_v and f_q are weight-normalized linear layers with ReLU; see the preset ``updown_hu``. The scores are
    computed as a sum over f_q(q) * w, in which ReLU and dropout only mask the entries of f_v(v_i): per region
    this takes two matrix products and one mask.

    Args:
        feature_size: D.
        question_size: Q.
        hidden_size: Size of the product.
        dropout: Dropout of the product.

    Raises:
        ValueError: If ``dropout`` is negative or not below 1.
    """

    def __init__(self, *, feature_size: int, question_size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
        self.region = weight_norm_linear(feature_size, hidden_size)
        self.question = nn.Sequential(weight_norm_linear(question_size, hidden_size), nn.ReLU())
        self.dropout = dropout
        self.score: Any = weight_norm_linear(hidden_size, 1)

    def forward(
        self, features: Float[Tensor, "B K D"], question: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B K"]:
        """Return the attention scores; their masked softmax is the attention."""
        region, weight = self.region(features), self.question(question) * self.score.weight
        zeroed = region <= 0
        if self.training and self.dropout:
            zeroed |= dropout_mask(region.shape, self.dropout, region.device)
            weight = weight / (1 - self.dropout)
        scores: Tensor = torch.einsum("bkh,bh->bk", region.masked_fill_(zeroed, 0), weight) + self.score.bias
        return scores


class ConcatAttention(nn.Module):
    """Attention scores a_i = w_a f_a([v_i, q]) (Anderson et al. 2018, section 3.3, equation 15).

    Args:
        feature_size: D.
        question_size: Q.
        hidden_size: Output size of f_a.
        layers: Kind of layers that f_a and w_a are made of; weight-normalized with ReLU by default.
        dropout: Dropout of the input of f_a.
        projected: Whether region and question first go through a linear layer each, as in OpenVQA.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        question_size: int,
        hidden_size: int,
        layers: LayerFactory | None = None,
        dropout: float = 0.0,
        projected: bool = False,
    ) -> None:
        super().__init__()
        factory = layers or WeightNormLayers()
        self.region = factory.linear(feature_size, feature_size) if projected else nn.Identity()
        self.question = factory.linear(question_size, question_size) if projected else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.joint = factory.nonlinear(feature_size + question_size, hidden_size)
        self.score = factory.linear(hidden_size, 1)

    def forward(
        self, features: Float[Tensor, "B K D"], question: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B K"]:
        """Return the attention scores a_i; their masked softmax is the attention."""
        question = self.question(question).unsqueeze(1).expand(-1, features.shape[1], -1)
        joint = self.joint(self.dropout(torch.cat([self.region(features), question], -1)))
        scores: Tensor = self.score(joint).squeeze(-1)
        return scores


class MeanPooling(nn.Module):
    """Equal attention scores for all regions: no attention."""

    def forward(
        self, features: Float[Tensor, "B K D"], question: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B K"]:
        """Return zeros."""
        return features.new_zeros(features.shape[:2])


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
