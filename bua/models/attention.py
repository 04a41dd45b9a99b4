"""Top-down attention over regions.

Shapes: B images, N sequences an image (captions, beams), K regions (padded), D region features,
A attention, H state. A mask is true where a region is real.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from bua.models.deferred_linear import deferred_linear
from bua.models.layers import Layers, WeightNormLayers, random_mask, weight_norm_linear


def masked_softmax(scores: Float[Tensor, "*S K"], mask: Bool[Tensor, "*#S K"]) -> Float[Tensor, "*S K"]:
    """Return weights that are 0 on padding and sum to 1, or are all 0 where everything is padding."""
    floor = torch.finfo(torch.float32).min
    return scores.float().masked_fill(~mask, floor).softmax(-1).masked_fill(~mask, 0).to(scores)


def uniform_weights(mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Return equal weights of the real regions."""
    return mask.float() / mask.sum(1, keepdim=True).clamp(min=1)


def masked_mean(features: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B D"]:
    """Return the mean over the real regions."""
    return torch.einsum("bk,bkd->bd", uniform_weights(mask).to(features), features)


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
        query, bias = deferred_linear(self.query.weight), self.query.bias

        def weigh(state: Tensor) -> Tensor:
            asked = query(state) if bias is None else query(state) + bias
            hidden = torch.tanh(keys.unsqueeze(1) + asked.unsqueeze(2))
            return masked_softmax(self.score(hidden).squeeze(-1), mask.unsqueeze(1))

        return weigh


class ProductAttention(nn.Module):
    """Scores w dropout(f(region) * g(question)), the "new attention" of the Up-Down VQA reimplementation.

    Weight-normed layers f and g with ReLU; see the preset ``updown_hu``. What ReLU and dropout make zero of
    a region is one mask, and w goes to the question's half: what is done for every region is then two
    matrix products and one mask.

    Raises:
        ValueError: the share that is dropped is not one.
    """

    def __init__(self, *, feature_size: int, question_size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; at least 0 and below 1 is needed")
        self.region = weight_norm_linear(feature_size, hidden_size)
        self.question = nn.Sequential(weight_norm_linear(question_size, hidden_size), nn.ReLU())
        self.dropout = dropout
        self.score: Any = weight_norm_linear(hidden_size, 1)

    def forward(
        self, features: Float[Tensor, "B K D"], question: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B K"]:
        """Return the scores of the regions; their masked softmax is how much each is looked at."""
        region, weighed = self.region(features), self.question(question) * self.score.weight
        zero = region <= 0
        if self.training and self.dropout:
            zero |= random_mask(region.shape, self.dropout, region.device)
            weighed = weighed / (1 - self.dropout)
        scores = torch.einsum("bkh,bh->bk", region.masked_fill_(zero, 0), weighed)
        biased: Tensor = scores + self.score.bias
        return biased


class ConcatAttention(nn.Module):
    """Scores w f([region, question]) (Anderson et al. 2018, section 3.3).

    Args:
        feature_size: of a region.
        question_size: of a question.
        hidden_size: of f.
        layers: what f and w are made of.
        dropout: before f.
        projected: region and question first go through a linear layer each, as in OpenVQA.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        question_size: int,
        hidden_size: int,
        layers: Layers | None = None,
        dropout: float = 0.0,
        projected: bool = False,
    ) -> None:
        super().__init__()
        made = layers or WeightNormLayers()
        self.region = made.linear(feature_size, feature_size) if projected else nn.Identity()
        self.question = made.linear(question_size, question_size) if projected else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.joint = made.nonlinear(feature_size + question_size, hidden_size)
        self.score = made.linear(hidden_size, 1)

    def forward(
        self, features: Float[Tensor, "B K D"], question: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B K"]:
        """Return the scores of the regions; their masked softmax is how much each is looked at."""
        asked = self.question(question).unsqueeze(1).expand(-1, features.shape[1], -1)
        joint = self.joint(self.dropout(torch.cat([self.region(features), asked], -1)))
        scores: Tensor = self.score(joint).squeeze(-1)
        return scores


class MeanPooling(nn.Module):
    """No attention: all regions weigh the same, whatever the question."""

    def forward(
        self, features: Float[Tensor, "B K D"], question: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B K"]:
        """Return equal scores of the regions."""
        return features.new_zeros(features.shape[:2])
