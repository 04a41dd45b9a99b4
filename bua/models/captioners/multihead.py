"""Attention in several heads, and the layers of a Transformer that are made of it.

All layers are pre-norm, x + f(norm(x)), as self-critical.pytorch builds them. Shapes: B images, N
sequences an image, T words now, P words before, K regions (padded), Q queries, S keys, D model, H
heads, E = D / H.
"""

from typing import NamedTuple

import torch
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


class EncoderLayer(nn.Module):
    """Regions attend to regions."""

    def __init__(self, *, size: int, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(size) for _ in range(2)])
        self.regions = MultiHeadAttention(size=size, heads=heads, dropout=dropout)
        self.feed_forward = FeedForward(size=size, hidden_size=hidden_size, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B K D"], mask: Tensor) -> Float[Tensor, "B K D"]:
        """Return the next regions; ``mask`` as of ``MultiHeadAttention``."""
        y = self.norms[0](x)
        x = x + self.dropout(self.regions(y, self.regions.attended(y), mask))
        out: Tensor = x + self.dropout(self.feed_forward(self.norms[1](x)))
        return out


class DecoderLayer(nn.Module):
    """Words attend to the words before them, then to regions."""

    def __init__(self, *, size: int, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(size) for _ in range(3)])
        self.words = MultiHeadAttention(size=size, heads=heads, dropout=dropout)
        self.regions = MultiHeadAttention(size=size, heads=heads, dropout=dropout)
        self.feed_forward = FeedForward(size=size, hidden_size=hidden_size, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def recall(
        self, x: Float[Tensor, "B N T D"], past: KeysAndValues
    ) -> tuple[Float[Tensor, "B N T D"], KeysAndValues]:
        """Attend to the words so far.

        Args:
            x: the words now.
            past: of the words before, (B, N, H, P, E).

        Returns:
            The next x, and keys and values of all words, (B, N, H, P + T, E).
        """
        y = self.norms[0](x)
        now = self.words.attended(y)
        keys, values = torch.cat([past.keys, now.keys], 3), torch.cat([past.values, now.values], 3)
        # a single word may look at all words; of several, each at itself and those before it
        before, count = past.keys.shape[3], x.shape[2]
        seen = torch.ones(count, before + count, dtype=torch.bool, device=x.device).tril(before)
        flat = KeysAndValues(keys.flatten(0, 1), values.flatten(0, 1))
        found = self.words(y.flatten(0, 1), flat, seen if count > 1 else None)
        return x + self.dropout(found.view_as(x)), KeysAndValues(keys, values)

    def look(
        self, x: Float[Tensor, "B N T D"], regions: KeysAndValues, mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B N T D"]:
        """Attend to the regions, (B, H, K, E), and think."""
        found = self.regions(self.norms[1](x).flatten(1, 2), regions, mask[:, None, None])
        x = x + self.dropout(found.view_as(x))
        out: Tensor = x + self.dropout(self.feed_forward(self.norms[2](x)))
        return out

    def weights(
        self, x: Float[Tensor, "B N T D"], regions: KeysAndValues, mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B N T K"]:
        """Return how much ``look`` looks at each region."""
        weights = self.regions.weights(self.norms[1](x).flatten(1, 2), regions.keys, mask)
        return weights.view(*x.shape[:3], -1)
