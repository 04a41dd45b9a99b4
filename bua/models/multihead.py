"""Attention in several heads, and what stands between attentions.

Shapes: B images, Q queries, S keys, D model, H heads, E = D / H.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import masked_softmax


class KeysAndValues(NamedTuple):
    """What is attended, by head."""

    keys: Float[Tensor, "*M H S E"]
    values: Float[Tensor, "*M H S E"]


class MultiHeadAttention(nn.Module):
    """Scaled dot products in several heads (Vaswani et al. 2017, section 3.2).

    Args:
        size: of the model, D.
        heads: H.
        dropout: of weights.

    Raises:
        ValueError: the size is not a multiple of the number of heads.
    """

    def __init__(self, *, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        if size % heads:
            raise ValueError(f"model_size is {size}, which {heads} heads do not divide")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.out = nn.Linear(size, size)

    def attended(self, x: Float[Tensor, "*M S D"]) -> KeysAndValues:
        """Return keys and values of what is attended."""
        return KeysAndValues(self._by_head(self.key(x)), self._by_head(self.value(x)))

    def forward(
        self, x: Float[Tensor, "B Q D"], there: KeysAndValues, mask: Tensor | None
    ) -> Float[Tensor, "B Q D"]:
        """Attend.

        Args:
            x: from where.
            there: (B, H, S, E), to what.
            mask: for (B, H, Q, S): true where attended, or what is added to scores.
        """
        found = F.scaled_dot_product_attention(
            self._by_head(self.query(x)),
            there.keys,
            there.values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        out: Tensor = self.out(found.transpose(-2, -3).flatten(-2))
        return out

    def weights(
        self, x: Float[Tensor, "B Q D"], keys: Float[Tensor, "B H S E"], mask: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B Q S"]:
        """Return the weights with which ``forward`` attends, as the mean over the heads."""
        query = self._by_head(self.query(x))
        scores = query @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5
        return masked_softmax(scores, mask[:, None, None]).mean(1)

    def _by_head(self, x: Float[Tensor, "*M Q D"]) -> Float[Tensor, "*M H Q E"]:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(-2, -3)


class FeedForward(nn.Sequential):
    """Two layers with ReLU and dropout between them (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, *, size: int, hidden_size: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(size, hidden_size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_size, size)
        )
