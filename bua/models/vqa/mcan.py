"""Deep modular co-attention networks (Yu et al. 2019) in the encoder-decoder form.

Shapes: B questions, T words (padded), K regions (padded), S words or regions, D model, F flat,
C answers.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.models.attention import masked_softmax
from bua.models.multihead import FeedForward, MultiHeadAttention
from bua.models.vqa.counting import Counter, Counts
from bua.models.vqa.question_encoder import QuestionEncoder, word_mask
from bua.structures.region_batch import RegionBatch


class DeviationNorm(nn.Module):
    """a (x - mean) / (std + eps) + b with the unbiased deviation, as MCAN's authors normalise."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: Float[Tensor, "*S D"]) -> Float[Tensor, "*S D"]:
        """Return the normed vectors."""
        std, mean = torch.std_mean(x, -1, keepdim=True)
        return self.weight * (x - mean) / (std + 1e-6) + self.bias


class CoAttentionLayer(nn.Module):
    """Attention to one's own kind, to others if there are any, and a feed-forward (section 3.1).

    Each half layer is post-norm: norm(x + f(x)).

    Args:
        size: D.
        hidden_size: of the feed-forward.
        heads: of attention.
        dropout: of attention weights, of the feed-forward and of what a half layer adds.
        guided: whether there are others: the guided attention unit, else the self-attention unit.
    """

    def __init__(self, *, size: int, hidden_size: int, heads: int, dropout: float, guided: bool) -> None:
        super().__init__()
        self.own = MultiHeadAttention(size=size, heads=heads, dropout=dropout)
        self.others = MultiHeadAttention(size=size, heads=heads, dropout=dropout) if guided else None
        self.feed_forward = FeedForward(size=size, hidden_size=hidden_size, dropout=dropout)
        self.norms = nn.ModuleList([DeviationNorm(size) for _ in range(3 if guided else 2)])
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B S D"],
        mask: Bool[Tensor, "B S"],
        others: Float[Tensor, "B R D"] | None = None,
        others_mask: Bool[Tensor, "B R"] | None = None,
    ) -> Float[Tensor, "B S D"]:
        """Return the next x."""
        x = self.norms[0](x + self.dropout(attend(self.own, x, x, mask)))
        if self.others is not None:
            assert others is not None
            assert others_mask is not None
            x = self.norms[1](x + self.dropout(attend(self.others, x, others, others_mask)))
        out: Tensor = self.norms[-1](x + self.dropout(self.feed_forward(x)))
        return out


def attend(
    attention: MultiHeadAttention, x: Tensor, there: Tensor, mask: Bool[Tensor, "B S"]
) -> Float[Tensor, "B Q D"]:
    """Attend from x to what is real there."""
    found: Tensor = attention(x, attention.attended(there), mask[:, None, None])
    return found


class Flatten(nn.Module):
    """One vector of many: their mean, weighed by what a small network says of each (section 3.3)."""

    def __init__(self, *, size: int, hidden_size: int, flat_size: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(size, hidden_size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_size, 1)
        )
        self.out = nn.Linear(size, flat_size)

    def forward(
        self, x: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B F"], Float[Tensor, "B S"]]:
        """Return the vector, and the scores whose masked softmax are its weights."""
        scores = self.score(x).squeeze(-1)
        flat = torch.einsum("bs,bsd->bd", masked_softmax(scores, mask), x)
        return self.out(flat), scores


class CoAttentionVQAModel(nn.Module):
    """MCAN: words attend to words; then regions attend to regions and to what became of the words.

    Args:
        feature_size: of a region.
        vocabulary_size: of the words of questions.
        answers: C.
        word_size: of word vectors.
        model_size: D.
        feed_forward_size: of the hidden layer between attentions.
        layers: of words, and as many of regions.
        heads: of attention.
        dropout: throughout.
        score_size: of the hidden layer of the networks that flatten.
        flat_size: F, of what words and regions are flattened to.
        counter: adds what it counts, or nothing.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        answers: int,
        word_size: int,
        model_size: int,
        feed_forward_size: int,
        layers: int,
        heads: int,
        dropout: float,
        score_size: int,
        flat_size: int,
        counter: Counter | None = None,
    ) -> None:
        super().__init__()
        self.encoder = QuestionEncoder(
            vocabulary_size=vocabulary_size, word_size=word_size, question_size=model_size, cell="lstm"
        )
        self.region = nn.Linear(feature_size, model_size)
        sizes: dict[str, Any] = {"size": model_size, "hidden_size": feed_forward_size, "heads": heads}
        sizes |= {"dropout": dropout}
        self.words = nn.ModuleList([CoAttentionLayer(**sizes, guided=False) for _ in range(layers)])
        self.regions = nn.ModuleList([CoAttentionLayer(**sizes, guided=True) for _ in range(layers)])
        flat: dict[str, Any] = {"size": model_size, "hidden_size": score_size, "flat_size": flat_size}
        self.flatten_words = Flatten(**flat, dropout=dropout)
        self.flatten_regions = Flatten(**flat, dropout=dropout)
        self.norm = DeviationNorm(flat_size)
        self.logits = nn.Linear(flat_size, answers)
        self.counts = Counts(counter, flat_size) if counter else None

    def forward(
        self, regions: RegionBatch, words: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B K"]]:
        """Return logits of the answers, and the weights with which regions are flattened."""
        asked, there = self.encoder.states(words), word_mask(words)
        for layer in self.words:
            asked = layer(asked, there)
        seen = self.region(regions.features)
        for layer in self.regions:
            seen = layer(seen, regions.mask, asked, there)
        question, _ = self.flatten_words(asked, there)
        image, scores = self.flatten_regions(seen, regions.mask)
        joint = question + image
        if self.counts is not None:
            joint = joint + self.counts(regions, scores)
        return self.logits(self.norm(joint)), masked_softmax(scores, regions.mask)
