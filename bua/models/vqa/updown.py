"""The Up-Down VQA model and its reimplementations: one glimpse at the regions.

Shapes: B questions, T words (padded), K regions (padded), D region features, H hidden, C answers.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bua.models.attention import masked_softmax
from bua.models.layers import Layers, WeightNormLayers
from bua.models.vqa.classifier import Classifier
from bua.models.vqa.counting import Counter, Counts
from bua.models.vqa.question_encoder import QuestionEncoder
from bua.structures.region_batch import RegionBatch


class Glimpse(nn.Module):
    """Question and attended region, each through a layer, multiplied (Anderson et al. 2018, section 3.3).

    Args:
        feature_size: of a region.
        hidden_size: of the question and of what comes out.
        attention: gives scores of regions.
        layers: what it is made of.
        counter: what it counts is added, or nothing is.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        hidden_size: int,
        attention: nn.Module,
        layers: Layers,
        counter: Counter | None,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.question = layers.nonlinear(hidden_size, hidden_size)
        self.region = layers.nonlinear(feature_size, hidden_size)
        self.counts = Counts(counter, hidden_size) if counter else None

    def forward(
        self, regions: RegionBatch, question: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B K"]]:
        """Return what was seen, and the weights of the regions."""
        scores = self.attention(regions.features, question)
        weights = masked_softmax(scores, regions.mask)
        attended = torch.einsum("bk,bkd->bd", weights, regions.features)
        seen: Tensor = self.question(question) * self.region(attended)
        return seen if self.counts is None else seen + self.counts(regions, scores), weights


class UpDownVQAModel(nn.Module):
    """The Up-Down VQA model (Anderson et al. 2018, section 3.3) in its most copied form.

    One glimpse; question and attended region, each through a weight-normed layer with ReLU, are
    multiplied; scores are logits of independent sigmoids. With ``MeanPooling`` as its attention it
    is the baseline that looks everywhere alike.

    Args:
        feature_size: of a region.
        vocabulary_size: of the words of questions.
        answers: C.
        word_size: of word vectors.
        hidden_size: of the question and of all that is multiplied.
        dropout: of the classifier.
        attention: gives scores of regions.
        layers: what it is made of.
        cell: of the question's encoder: gru or lstm.
        counter: adds what it counts, or nothing.
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
        layers: Layers | None = None,
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
        """Return logits of the answers and the weights of the regions."""
        seen, weights = self.glimpse(regions, self.encoder(words))
        return self.classifier(seen), weights
