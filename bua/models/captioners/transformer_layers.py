"""Encoder and decoder layers of the Transformer captioner.

All layers are pre-norm, x + f(norm(x)), as self-critical.pytorch builds them.

Shapes: B images, N sequences per image, T new words, P earlier words, K regions (padded), D model,
H heads, E = D / H.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from bua.models.multihead import FeedForward, KeyValues, MultiHeadAttention


class EncoderLayer(nn.Module):
    """Self-attention of the regions and a feed-forward network.

    ::

        y = LayerNorm(x)
        x = x + MultiHead(y, y, y)
        x = x + FFN(LayerNorm(x))
    """

    def __init__(self, *, size: int, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(size) for _ in range(2)])
        self.regions = MultiHeadAttention(size=size, heads=heads, dropout=dropout)
        self.feed_forward = FeedForward(size=size, hidden_size=hidden_size, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B K D"], mask: Tensor) -> Float[Tensor, "B K D"]:
        """Return the regions after this layer; ``mask`` is that of ``MultiHeadAttention``."""
        y = self.norms[0](x)
        x = x + self.dropout(self.regions(y, self.regions.key_values(y), mask))
        out: Tensor = x + self.dropout(self.feed_forward(self.norms[1](x)))
        return out


class DecoderLayer(nn.Module):
    """Causal self-attention of the words, cross-attention to the regions and a feed-forward network.

    For words x and encoded regions m ::

        y = LayerNorm(x)
        x = x + MultiHead(y, y, y)                  masked: no word attends to later words
        x = x + MultiHead(LayerNorm(x), m, m)
        x = x + FFN(LayerNorm(x))
    """

    def __init__(self, *, size: int, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(size) for _ in range(3)])
        self.words = MultiHeadAttention(size=size, heads=heads, dropout=dropout)
        self.regions = MultiHeadAttention(size=size, heads=heads, dropout=dropout)
        self.feed_forward = FeedForward(size=size, hidden_size=hidden_size, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def self_attend(
        self, x: Float[Tensor, "B N T D"], past: KeyValues
    ) -> tuple[Float[Tensor, "B N T D"], KeyValues]:
        """Apply the self-attention block.

        Args:
            x: New words.
            past: Keys and values of the earlier words, (B, N, H, P, E).

        Returns:
            The new words after this block, and the keys and values of all words, (B, N, H, P + T, E).
        """
        y = self.norms[0](x)
        new = self.words.key_values(y)
        keys, values = torch.cat([past.keys, new.keys], 3), torch.cat([past.values, new.values], 3)
        # a single new word attends to all words, each of several to itself and those before it
        num_past, num_new = past.keys.shape[3], x.shape[2]
        causal = torch.ones(num_new, num_past + num_new, dtype=torch.bool, device=x.device).tril(num_past)
        flat = KeyValues(keys.flatten(0, 1), values.flatten(0, 1))
        attended = self.words(y.flatten(0, 1), flat, causal if num_new > 1 else None)
        return x + self.dropout(attended.view_as(x)), KeyValues(keys, values)

    def cross_attend(
        self, x: Float[Tensor, "B N T D"], regions: KeyValues, mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B N T D"]:
        """Apply the cross-attention block to the regions (B, H, K, E), then the feed-forward block."""
        attended = self.regions(self.norms[1](x).flatten(1, 2), regions, mask[:, None, None])
        x = x + self.dropout(attended.view_as(x))
        out: Tensor = x + self.dropout(self.feed_forward(self.norms[2](x)))
        return out

    def cross_attention_weights(
        self, x: Float[Tensor, "B N T D"], regions: KeyValues, mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B N T K"]:
        """Return the attention weights of ``cross_attend``, averaged over the heads."""
        weights = self.regions.attention_weights(self.norms[1](x).flatten(1, 2), regions.keys, mask)
        return weights.view(*x.shape[:3], -1)
