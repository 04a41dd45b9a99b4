"""Bilinear attention networks (Kim et al. 2018).

Shapes: B questions, T words (padded), K regions (padded), D region features, Q question and hidden size,
G glimpses, J joint space, C answers.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.errors import check_integer
from bua.models.attention import masked_softmax
from bua.models.layers import WeightNormLayers, weight_norm_linear
from bua.models.vqa.classifier import Classifier
from bua.models.vqa.counting import Counter
from bua.models.vqa.question_encoder import QuestionEncoder
from bua.structures.region_batch import RegionBatch


def dropout_layer(in_size: int, out_size: int, dropout: float) -> nn.Sequential:
    """Return a weight-normalized layer with ReLU, and dropout of its input."""
    return nn.Sequential(nn.Dropout(dropout), weight_norm_linear(in_size, out_size), nn.ReLU())


class BilinearAttention(nn.Module):
    """Scores of all pairs of a word and a region (Kim et al. 2018, section 3.1, equation 6).

    For question states X_i, region features Y_j and glimpse g ::

        a_g,ij = p_g (U X_i * V Y_j)

    Args:
        feature_size: D.
        question_size: Q.
        joint_size: J, the size of U X_i and V Y_j.
        glimpses: G.
        dropout: Dropout of X_i and Y_j.
        joint_dropout: Dropout of V Y_j.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        question_size: int,
        joint_size: int,
        glimpses: int,
        dropout: float,
        joint_dropout: float,
    ) -> None:
        super().__init__()
        self.region = dropout_layer(feature_size, joint_size, dropout)
        self.word = dropout_layer(question_size, joint_size, dropout)
        self.dropout = nn.Dropout(joint_dropout)
        score: Any = weight_norm_linear(joint_size, glimpses)
        # as in the authors' code: with weights of the usual size, attention would long stay uniform
        with torch.no_grad():
            score.weight = torch.randn(glimpses, joint_size)
            score.bias.copy_(torch.randn(glimpses))
        self.score = score

    def forward(
        self, features: Float[Tensor, "B K D"], words: Float[Tensor, "B T Q"]
    ) -> Float[Tensor, "B G K T"]:
        """Return the scores a."""
        regions, words = self.dropout(self.region(features)), self.word(words)
        # p_g multiplies the words, which are fewer than the regions
        weighted = words.unsqueeze(1) * self.score.weight[:, None]
        scores: Tensor = regions.unsqueeze(1) @ weighted.transpose(2, 3) + self.score.bias[:, None, None]
        return scores


class BilinearPooling(nn.Module):
    """Weighted sum over all pairs of a word and a region (Kim et al. 2018, section 3.1, equation 4).

    For question states X_i, region features Y_j and the attention A of a glimpse ::

        f' = sum_ij A_ij (U' X_i * V' Y_j)
    """

    def __init__(self, *, feature_size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.region = dropout_layer(feature_size, hidden_size, dropout)
        self.word = dropout_layer(hidden_size, hidden_size, dropout)

    def forward(
        self,
        features: Float[Tensor, "B K D"],
        words: Float[Tensor, "B T Q"],
        weights: Float[Tensor, "B K T"],
    ) -> Float[Tensor, "B Q"]:
        """Return f'."""
        attended = weights.transpose(1, 2) @ self.region(features)
        pooled: Tensor = (attended * self.word(words)).sum(1)
        return pooled


class BilinearVQAModel(nn.Module):
    """A bilinear attention network with the counting module, as its authors released it.

    The question states X are those of a GRU after every word, padding included. Each glimpse adds its
    result to all of them (section 3.2). For region features Y_j and glimpses g = 0, ..., G - 1 ::

        A_g       = softmax of p_g (U X_i * V Y_j) over all pairs (i, j)     (6)
        f'_g      = sum_ij A_g,ij (U'_g f_g,i * V'_g Y_j), f_0 = X           (4)
        f_(g+1),i = f_g,i + P_g f'_g + counts_g
        p(y)      = sigmoid(MLP(sum_i f_G,i))

    where counts_g is a layer over the result of the counting module, if there is one.

    Args:
        feature_size: D.
        vocabulary_size: Number of words of questions.
        answers: C.
        word_size: Size of word vectors.
        frozen_copy: Whether word vectors are concatenated with a copy that is not trained.
        hidden_size: Q.
        glimpses: G.
        joint_factor: Size of the joint space of U and V, as a multiple of Q.
        dropout: Dropout of the inputs of layers.
        joint_dropout: Dropout of V Y_j.
        classifier_dropout: Dropout in the classifier.
        counter: Counting module shared by all glimpses; None for none.

    Raises:
        ValueError: If there are no glimpses.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        answers: int,
        word_size: int,
        frozen_copy: bool,
        hidden_size: int,
        glimpses: int,
        joint_factor: int,
        dropout: float,
        joint_dropout: float,
        classifier_dropout: float,
        counter: Counter | None = None,
    ) -> None:
        super().__init__()
        check_integer("glimpses", glimpses, 1)
        self.encoder = QuestionEncoder(
            vocabulary_size=vocabulary_size,
            word_size=word_size,
            question_size=hidden_size,
            frozen_copy=frozen_copy,
        )
        self.attention = BilinearAttention(
            feature_size=feature_size,
            question_size=hidden_size,
            joint_size=joint_factor * hidden_size,
            glimpses=glimpses,
            dropout=dropout,
            joint_dropout=joint_dropout,
        )
        self.pool = nn.ModuleList(
            BilinearPooling(feature_size=feature_size, hidden_size=hidden_size, dropout=dropout)
            for _ in range(glimpses)
        )
        self.seen = nn.ModuleList(  # the projections P_g
            nn.Sequential(nn.Dropout(dropout), weight_norm_linear(hidden_size, hidden_size))
            for _ in range(glimpses)
        )
        self.counter = counter
        layer = WeightNormLayers().nonlinear
        self.counts = nn.ModuleList(
            [layer(counter.size, hidden_size) for _ in range(glimpses)] if counter else []
        )
        self.classifier = Classifier(hidden_size, 2 * hidden_size, answers, classifier_dropout)

    def forward(
        self, regions: RegionBatch, words: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B K"]]:
        """Return the logits of the answers, and the attention summed over words, averaged over glimpses."""
        states = self.encoder.states(words)
        # (6): A_g = softmax of p_g (U X_i * V Y_j) over all pairs (i, j)
        scores = self.attention(regions.features, states)
        maps = pair_softmax(scores, regions.mask)
        for g, (pool, project) in enumerate(zip(self.pool, self.seen, strict=True)):
            # (4): f'_g = sum_ij A_g,ij (U'_g f_g,i * V'_g Y_j), then f_(g+1) = f_g + P_g f'_g + counts_g
            update = project(pool(regions.features, states, maps[:, g]))
            if self.counter is not None:
                counts = self.counter(regions.boxes, scores[:, g].amax(2), regions.mask)
                update = update + self.counts[g](counts)
            states = states + update.unsqueeze(1)
        return self.classifier(states.sum(1)), maps.sum(3).mean(1)

    def attention_maps(self, regions: RegionBatch, words: Int[Tensor, "B T"]) -> Float[Tensor, "B G K T"]:
        """Return the attention A of every glimpse, over all pairs of a region and a word."""
        return pair_softmax(self.attention(regions.features, self.encoder.states(words)), regions.mask)


def pair_softmax(scores: Float[Tensor, "B G K T"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B G K T"]:
    """Return the softmax over all pairs of a real region and a word, for each glimpse."""
    pair_mask = mask[:, None, :, None].expand_as(scores)
    return masked_softmax(scores.flatten(2), pair_mask.flatten(2)).view_as(scores)
