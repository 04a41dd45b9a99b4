"""Deep modular co-attention networks (Yu et al. 2019) in the encoder-decoder form.

Shapes: B questions, T words (padded), K regions (padded), S words or regions, D model, F fused, C answers.
"""

from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.models.attention import masked_softmax
from bua.models.multihead import FeedForward, MultiHeadAttention
from bua.models.vqa.counting import Counter, CountLayer
from bua.models.vqa.question_encoder import QuestionEncoder, word_mask
from bua.structures.region_batch import RegionBatch


class UnbiasedLayerNorm(nn.Module):
    """Layer normalization with the unbiased standard deviation, as in the authors' code.

    ::

        y = weight * (x - mean(x)) / (std(x) + 1e-6) + bias
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: Float[Tensor, "*S D"]) -> Float[Tensor, "*S D"]:
        """Return the normalized vectors."""
        std, mean = torch.std_mean(x, -1, keepdim=True)
        return self.weight * (x - mean) / (std + 1e-6) + self.bias


class CoAttentionLayer(nn.Module):
    """A self-attention (SA) or self- and guided-attention (SGA) unit (Yu et al. 2019, section 3.1).

    Every block is post-norm. For words or regions x and, in the SGA unit, words y ::

        x = LayerNorm(x + MultiHead(x, x, x))
        x = LayerNorm(x + MultiHead(x, y, y))       guided attention, SGA only
        x = LayerNorm(x + FFN(x))

    Args:
        size: D.
        hidden_size: Size of the hidden layer of the feed-forward network.
        heads: Number of attention heads.
        dropout: Dropout of attention weights, in the feed-forward network, and of the output of every block.
        guided: Whether this is the SGA unit.
    """

    def __init__(self, *, size: int, hidden_size: int, heads: int, dropout: float, guided: bool) -> None:
        super().__init__()
        # checkpoints call self-attention "own" and guided attention "others"
        self.own = MultiHeadAttention(size=size, heads=heads, dropout=dropout)
        self.others = MultiHeadAttention(size=size, heads=heads, dropout=dropout) if guided else None
        self.feed_forward = FeedForward(size=size, hidden_size=hidden_size, dropout=dropout)
        self.norms = nn.ModuleList([UnbiasedLayerNorm(size) for _ in range(3 if guided else 2)])
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B S D"],
        mask: Bool[Tensor, "B S"],
        y: Float[Tensor, "B T D"] | None = None,
        y_mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B S D"]:
        """Return the next x; y and its mask are needed by the SGA unit only."""
        x = self.norms[0](x + self.dropout(attend(self.own, x, x, mask)))
        if self.others is not None:
            assert y is not None
            assert y_mask is not None
            x = self.norms[1](x + self.dropout(attend(self.others, x, y, y_mask)))
        out: Tensor = self.norms[-1](x + self.dropout(self.feed_forward(x)))
        return out


def attend(
    attention: MultiHeadAttention, x: Tensor, y: Tensor, mask: Bool[Tensor, "B S"]
) -> Float[Tensor, "B Q D"]:
    """Attend from x to the unmasked vectors of y."""
    out: Tensor = attention(x, attention.key_values(y), mask[:, None, None])
    return out


class AttentionReduction(nn.Module):
    """Reduction of words or regions to one vector by attention (Yu et al. 2019, multimodal fusion).

    ::

        alpha   = softmax(MLP(X))
        x_tilde = sum_i alpha_i x_i
        out     = W x_tilde + b

    Args:
        size: D.
        hidden_size: Size of the hidden layer of the MLP.
        flat_size: F.
        dropout: Dropout in the MLP.
    """

    def __init__(self, *, size: int, hidden_size: int, flat_size: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(size, hidden_size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_size, 1)
        )
        self.out = nn.Linear(size, flat_size)

    def forward(
        self, x: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B F"], Float[Tensor, "B S"]]:
        """Return the projected vector, and the scores MLP(X)."""
        scores = self.score(x).squeeze(-1)
        x_tilde = torch.einsum("bs,bsd->bd", masked_softmax(scores, mask), x)
        return self.out(x_tilde), scores


class CoAttentionVQAModel(nn.Module):
    """MCAN in its encoder-decoder form (Yu et al. 2019).

    The encoder is a stack of SA units over the LSTM states Y of the words, the decoder a stack of SGA units
    over the projected regions X, guided by the output of the encoder ::

        Y    = SA(...SA(Y))
        X    = SGA(...SGA(X, Y), Y)
        z    = LayerNorm(W_x x_tilde + W_y y_tilde)      see ``AttentionReduction``
        p(y) = sigmoid(W z + b)

    Args:
        feature_size: Size of a region feature.
        vocabulary_size: Number of words of questions.
        answers: C.
        word_size: Size of word vectors.
        model_size: D.
        feed_forward_size: Size of the hidden layer of the feed-forward networks.
        layers: Number of SA units, and of SGA units.
        heads: Number of attention heads.
        dropout: Dropout of all parts.
        score_size: Size of the hidden layer of the MLPs that reduce words and regions to a vector each.
        flat_size: F, the size of z.
        counter: Counting module whose features are added before the last layer norm; None for none.
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
        unit = partial(
            CoAttentionLayer, size=model_size, hidden_size=feed_forward_size, heads=heads, dropout=dropout
        )
        self.words = nn.ModuleList([unit(guided=False) for _ in range(layers)])
        self.regions = nn.ModuleList([unit(guided=True) for _ in range(layers)])
        reduction = partial(
            AttentionReduction, size=model_size, hidden_size=score_size, flat_size=flat_size, dropout=dropout
        )
        self.flatten_words = reduction()
        self.flatten_regions = reduction()
        self.norm = UnbiasedLayerNorm(flat_size)
        self.logits = nn.Linear(flat_size, answers)
        self.counts = CountLayer(counter, flat_size) if counter else None

    def forward(
        self, regions: RegionBatch, words: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B K"]]:
        """Return the logits of the answers, and the attention with which the regions are reduced."""
        # Y = SA(...SA(Y))
        y, y_mask = self.encoder.states(words), word_mask(words)
        for layer in self.words:
            y = layer(y, y_mask)
        # X = SGA(...SGA(X, Y), Y)
        x = self.region(regions.features)
        for layer in self.regions:
            x = layer(x, regions.mask, y, y_mask)
        # z = LayerNorm(W_x x_tilde + W_y y_tilde)
        question, _ = self.flatten_words(y, y_mask)
        image, scores = self.flatten_regions(x, regions.mask)
        joint = question + image
        if self.counts is not None:
            joint = joint + self.counts(regions, scores)
        z = self.norm(joint)
        return self.logits(z), masked_softmax(scores, regions.mask)
