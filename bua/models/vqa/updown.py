"""The Up-Down VQA model and its reimplementations.

Shapes: B questions, T words (padded), K regions (padded), D region features, H hidden, C answers.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bua.models.attention import masked_softmax
from bua.models.layers import LayerFactory, WeightNormLayers
from bua.models.vqa.classifier import Classifier
from bua.models.vqa.counting import Counter, CountLayer
from bua.models.vqa.question_encoder import QuestionEncoder
from bua.structures.region_batch import RegionBatch


class Glimpse(nn.Module):
    """One attention over the regions and its fusion with the question (Anderson et al. 2018, section 3.3).

    For the question encoding q and region features v_i, with the scores a_i of an attention module ::

        alpha = softmax(a)                  (4)
        v_hat = sum_i alpha_i v_i           (5)
        h     = f_q(q) * f_v(v_hat)         (16)

    Args:
        feature_size: D.
        hidden_size: H, the size of q and h.
        attention: Computes the attention scores from region features and q.
        layers: Kind of layers that f_q and f_v are.
        counter: Counting module whose features are added to h; None for none.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        hidden_size: int,
        attention: nn.Module,
        layers: LayerFactory,
        counter: Counter | None,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.question = layers.nonlinear(hidden_size, hidden_size)
        self.region = layers.nonlinear(feature_size, hidden_size)
        self.counts = CountLayer(counter, hidden_size) if counter else None

    def forward(
        self, regions: RegionBatch, question: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B K"]]:
        """Return h and the attention alpha."""
        # (4): alpha = softmax(a)
        scores = self.attention(regions.features, question)
        alpha = masked_softmax(scores, regions.mask)
        # (5): v_hat = sum_i alpha_i v_i
        v_hat = torch.einsum("bk,bkd->bd", alpha, regions.features)
        # (16): h = f_q(q) * f_v(v_hat)
        h: Tensor = self.question(question) * self.region(v_hat)
        return h if self.counts is None else h + self.counts(regions, scores), alpha


class UpDownVQAModel(nn.Module):
    """The Up-Down VQA model (Anderson et al. 2018, section 3.3) and its reimplementations.

    For the question encoding q and region features v_i ::

        a_i   = w_a f_a([v_i, q])           (15)
        alpha = softmax(a)                  (4)
        v_hat = sum_i alpha_i v_i           (5)
        h     = f_q(q) * f_v(v_hat)         (16)
        p(y)  = sigmoid(W_o f_o(h))         (17)

    In the paper every f is a gated tanh layer (equations 12 to 14); the most common reimplementations have
    weight-normalized linear layers with ReLU. ``ConcatAttention`` is equation 15, ``ProductAttention`` its
    usual replacement, and ``MeanPooling`` gives a baseline without attention. f_o and W_o are always
    weight-normalized, with ReLU.

    Args:
        feature_size: D.
        vocabulary_size: Number of words of questions.
        answers: C.
        word_size: Size of word vectors.
        hidden_size: H, the size of q and h; f_o has 2 H outputs.
        dropout: Dropout of f_o(h).
        attention: Computes the attention scores a_i.
        layers: Kind of layers that f_q and f_v are; weight-normalized with ReLU by default.
        cell: Recurrent cell of the question encoder, "gru" or "lstm".
        counter: Counting module whose features are added to h; None for none.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        answers: int,
        word_size: int,
        hidden_size: int,
        dropout: float,
        attention: nn.Module,
        layers: LayerFactory | None = None,
        cell: str = "gru",
        counter: Counter | None = None,
    ) -> None:
        super().__init__()
        self.encoder = QuestionEncoder(
            vocabulary_size=vocabulary_size, word_size=word_size, question_size=hidden_size, cell=cell
        )
        self.glimpse = Glimpse(
            feature_size=feature_size,
            hidden_size=hidden_size,
            attention=attention,
            layers=layers or WeightNormLayers(),
            counter=counter,
        )
        self.classifier = Classifier(hidden_size, 2 * hidden_size, answers, dropout)

    def forward(
        self, regions: RegionBatch, words: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B K"]]:
        """Return the logits W_o f_o(h) of the answers and the attention alpha."""
        q = self.encoder(words)
        h, alpha = self.glimpse(regions, q)
        return self.classifier(h), alpha
