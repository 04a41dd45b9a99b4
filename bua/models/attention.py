"""Top-down attention over regions.

Shapes: B images, N sequences an image (captions, beams), K regions (padded), D region features,
A attention, H state. A mask is true where a region is real.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from bua.models.repeated import repeated


def masked_softmax(scores: Float[Tensor, "*S K"], mask: Bool[Tensor, "*#S K"]) -> Float[Tensor, "*S K"]:
    """Return weights that are 0 on padding and sum to 1, or are all 0 where everything is padding."""
    floor = torch.finfo(torch.float32).min
    return scores.float().masked_fill(~mask, floor).softmax(-1).masked_fill(~mask, 0).to(scores)


def uniform(mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Return equal weights of the real regions."""
    return mask.float() / mask.sum(1, keepdim=True).clamp(min=1)


def masked_mean(features: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B D"]:
    """Return the mean over the real regions."""
    return torch.einsum("bk,bkd->bd", uniform(mask).to(features), features)


class AdditiveAttention(nn.Module):
    """Scores w tanh(key + query) (Anderson et al. 2018, section 3.2.1, equation 3).

    Args:
        state_size: of the query.
        attention_size: of keys; they are computed once an image, by the caller.
        bias: whether queries and scores have one.
    """

    def __init__(self, *, state_size: int, attention_size: int, bias: bool) -> None:
        super().__init__()
        self.query = nn.Linear(state_size, attention_size, bias=bias)
        self.score = nn.Linear(attention_size, 1, bias=bias)

    def over(
        self, keys: Float[Tensor, "B K A"], mask: Bool[Tensor, "B K"]
    ) -> Callable[[Float[Tensor, "B N H"]], Float[Tensor, "B N K"]]:
        """Return the attention over the same regions at every step of a recurrence."""
        query, bias = repeated(self.query.weight), self.query.bias

        def weigh(state: Tensor) -> Tensor:
            asked = query(state) if bias is None else query(state) + bias
            hidden = torch.tanh(keys.unsqueeze(1) + asked.unsqueeze(2))
            return masked_softmax(self.score(hidden).squeeze(-1), mask.unsqueeze(1))

        return weigh


def normed_linear(in_size: int, out_size: int) -> nn.Module:
    """Return a linear layer whose weight has one learnt norm for the whole matrix."""
    # "no dimension" gives one norm for the matrix; torch takes -1 for it, too
    layer: nn.Module = weight_norm(nn.Linear(in_size, out_size), dim=-1)
    return layer


class ProductAttention(nn.Module):
    """Scores w (f(region) * g(question)), the "new attention" of the Up-Down VQA reimplementation.

    Weight-normed layers with ReLU; see the preset ``updown_hu``.
    """

    def __init__(self, *, feature_size: int, question_size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.region = nn.Sequential(normed_linear(feature_size, hidden_size), nn.ReLU())
        self.question = nn.Sequential(normed_linear(question_size, hidden_size), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.score = normed_linear(hidden_size, 1)

    def forward(
        self, features: Float[Tensor, "B K D"], question: Float[Tensor, "B Q"], mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B K"]:
        """Return the weights of the regions."""
        joint = self.region(features) * self.question(question).unsqueeze(1)
        return masked_softmax(self.score(self.dropout(joint)).squeeze(-1), mask)


class ConcatAttention(nn.Module):
    """Scores w f([region, question]) (Anderson et al. 2018, section 3.3), with ReLU and weight norm."""

    def __init__(self, *, feature_size: int, question_size: int, hidden_size: int) -> None:
        super().__init__()
        self.joint = nn.Sequential(normed_linear(feature_size + question_size, hidden_size), nn.ReLU())
        self.score = normed_linear(hidden_size, 1)

    def forward(
        self, features: Float[Tensor, "B K D"], question: Float[Tensor, "B Q"], mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B K"]:
        """Return the weights of the regions."""
        repeated = question.unsqueeze(1).expand(-1, features.shape[1], -1)
        joint = self.joint(torch.cat([features, repeated], -1))
        return masked_softmax(self.score(joint).squeeze(-1), mask)


class MeanPooling(nn.Module):
    """No attention: all regions weigh the same, whatever the question."""

    def forward(
        self, features: Float[Tensor, "B K D"], question: Float[Tensor, "B Q"], mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B K"]:
        """Return equal weights of the real regions."""
        return uniform(mask).to(features)
