"""Multi-head attention and the feed-forward network of a Transformer.

Shapes: B images, Q queries, S keys, D model, H heads, E = D / H.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import masked_softmax


class KeyValues(NamedTuple):
    """Keys and values of what is attended to, split into heads."""

    keys: Float[Tensor, "*M H S E"]
    values: Float[Tensor, "*M H S E"]


class MultiHeadAttention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, section 3.2).

    For queries Q, keys K and values V ::

        Attention(Q, K, V) = softmax(Q K^T / sqrt(E)) V      (1)
        MultiHead(Q, K, V) = Concat(head_1, ..., head_H) W_O
        head_h             = Attention(Q W_Q,h, K W_K,h, V W_V,h)

    Args:
        size: D.
        heads: H.
        dropout: Dropout of the attention weights.

    Raises:
        ValueError: If the size is not a multiple of the number of heads.
    """

    def __init__(self, *, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        if size % heads:
            raise ValueError(f"model_size must be a multiple of the {heads} heads, got {size}")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.out = nn.Linear(size, size)

    def key_values(self, x: Float[Tensor, "*M S D"]) -> KeyValues:
        """Return the keys and values of vectors to attend to."""
        return KeyValues(self._split_heads(self.key(x)), self._split_heads(self.value(x)))

    def forward(
        self, x: Float[Tensor, "B Q D"], key_values: KeyValues, mask: Tensor | None
    ) -> Float[Tensor, "B Q D"]:
        """Attend to keys and values.

        Args:
            x: Vectors that queries are computed from.
            key_values: Keys and values (B, H, S, E).
            mask: For (B, H, Q, S), true where a query may attend, or floats that are added to the scores.
        """
        heads = F.scaled_dot_product_attention(
            self._split_heads(self.query(x)),
            key_values.keys,
            key_values.values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        out: Tensor = self.out(heads.transpose(-2, -3).flatten(-2))
        return out

    def attention_weights(
        self, x: Float[Tensor, "B Q D"], keys: Float[Tensor, "B H S E"], mask: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B Q S"]:
        """Return the attention weights of ``forward``, averaged over the heads."""
        query = self._split_heads(self.query(x))
        scores = query @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5
        return masked_softmax(scores, mask[:, None, None]).mean(1)

    def _split_heads(self, x: Float[Tensor, "*M Q D"]) -> Float[Tensor, "*M H Q E"]:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(-2, -3)


class FeedForward(nn.Sequential):
    """A feed-forward network (Vaswani et al. 2017, section 3.3), with dropout between its layers.

    ::

        FFN(x) = max(0, x W_1 + b_1) W_2 + b_2      (2)
    """

    def __init__(self, *, size: int, hidden_size: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(size, hidden_size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_size, size)
        )
