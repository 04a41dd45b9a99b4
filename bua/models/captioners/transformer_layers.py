"""The layers of a Transformer from regions to words.

All layers are pre-norm, x + f(norm(x)), as self-critical.pytorch builds them. Shapes: B images, N
sequences an image, T words now, P words before, K regions (padded), D model, H heads, E = D / H.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from bua.models.multihead import FeedForward, KeysAndValues, MultiHeadAttention


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
