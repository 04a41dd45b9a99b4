"""Bilinear attention networks (Kim et al. 2018).

Shapes: B questions, T words (padded), K regions (padded), D region features, Q question (and hidden),
G glimpses, J joint, C answers.
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
    """Return a weight-normed layer with ReLU and dropout of what comes in."""
    return nn.Sequential(nn.Dropout(dropout), weight_norm_linear(in_size, out_size), nn.ReLU())


class BilinearAttention(nn.Module):
    """Scores h_g (v * q) of every pair of a region and a word, in G glimpses (section 3.1, equation 6).

    Args:
        feature_size: D.
        question_size: Q.
        joint_size: J.
        glimpses: G.
        dropout: of what comes in.
        joint_dropout: of the regions' half of the joint.
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
        # as its authors have it: from weights of the usual size attention would be, and long stay, uniform
        with torch.no_grad():
            score.weight = torch.randn(glimpses, joint_size)
            score.bias.copy_(torch.randn(glimpses))
        self.score = score

    def forward(
        self, features: Float[Tensor, "B K D"], words: Float[Tensor, "B T Q"]
    ) -> Float[Tensor, "B G K T"]:
        """Return the scores."""
        regions, asked = self.dropout(self.region(features)), self.word(words)
        # words are fewer than regions: the weights of a glimpse go to them
        by_glimpse = asked.unsqueeze(1) * self.score.weight[:, None]
        scores: Tensor = regions.unsqueeze(1) @ by_glimpse.transpose(2, 3) + self.score.bias[:, None, None]
        return scores


class BilinearPooling(nn.Module):
    """The sum over pairs of v' * q', each pair weighing what attention gives it (equation 4)."""

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
        """Return one vector a question."""
        looked = weights.transpose(1, 2) @ self.region(features)
        pooled: Tensor = (looked * self.word(words)).sum(1)
        return pooled


class BilinearVQAModel(nn.Module):
    """A bilinear attention network with the counting module, as its authors released it.

    All states of a GRU over the question are attended, those after padding included. Each glimpse
    adds what it saw, and what it counted, to every state (section 3.2); the answer is that of their sum.

    Args:
        feature_size: D.
        vocabulary_size: of the words of questions.
        answers: C.
        word_size: of word vectors.
        frozen_copy: of the encoder: each word twice, once as it began.
        hidden_size: Q.
        glimpses: G.
        joint_factor: the scores are taken in so many times Q dimensions.
        dropout: of what comes into layers.
        joint_dropout: of the regions in the scores.
        classifier_dropout: within the classifier.
        counter: adds what it counts, or nothing.

    Raises:
        ValueError: there is no glimpse.
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
        sizes = {"feature_size": feature_size, "hidden_size": hidden_size, "dropout": dropout}
        each = range(glimpses)
        self.pool = nn.ModuleList([BilinearPooling(**sizes) for _ in each])  # type: ignore[arg-type]
        self.seen = nn.ModuleList(
            [nn.Sequential(nn.Dropout(dropout), weight_norm_linear(hidden_size, hidden_size)) for _ in each]
        )
        self.counter = counter  # one for all glimpses
        counts = [WeightNormLayers().nonlinear(counter.size, hidden_size) for _ in each] if counter else []
        self.counts = nn.ModuleList(counts)
        self.classifier = Classifier(hidden_size, 2 * hidden_size, answers, classifier_dropout)

    def forward(
        self, regions: RegionBatch, words: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B K"]]:
        """Return logits of the answers, and weights of the regions over all words, mean of the glimpses."""
        states = self.encoder.states(words)
        scores = self.attention(regions.features, states)
        maps = pair_weights(scores, regions.mask)
        for g, (pool, seen) in enumerate(zip(self.pool, self.seen, strict=True)):
            new = seen(pool(regions.features, states, maps[:, g]))
            if self.counter is not None:
                counted = self.counter(regions.boxes, scores[:, g].amax(2), regions.mask)
                new = new + self.counts[g](counted)
            states = states + new.unsqueeze(1)
        return self.classifier(states.sum(1)), maps.sum(3).mean(1)

    def maps(self, regions: RegionBatch, words: Int[Tensor, "B T"]) -> Float[Tensor, "B G K T"]:
        """Return how much each glimpse looks at each pair of a region and a word."""
        return pair_weights(self.attention(regions.features, self.encoder.states(words)), regions.mask)


def pair_weights(scores: Float[Tensor, "B G K T"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B G K T"]:
    """Return weights that sum to 1 over all pairs of a real region and a word, for each glimpse."""
    there = mask[:, None, :, None].expand_as(scores)
    return masked_softmax(scores.flatten(2), there.flatten(2)).view_as(scores)
