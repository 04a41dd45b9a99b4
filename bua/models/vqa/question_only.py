"""The baseline that answers without looking.

Shapes: B questions, T words (padded), K regions (padded), C answers.
"""

from jaxtyping import Float, Int
from torch import Tensor, nn

from bua.models.attention import uniform_weights
from bua.models.layers import WeightNormLayers
from bua.models.vqa.classifier import Classifier
from bua.models.vqa.question_encoder import QuestionEncoder
from bua.structures.region_batch import RegionBatch


class QuestionOnlyVQAModel(nn.Module):
    """The baseline that answers without looking."""

    def __init__(
        self, *, vocabulary_size: int, answers: int, word_size: int, hidden_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.encoder = QuestionEncoder(
            vocabulary_size=vocabulary_size, word_size=word_size, question_size=hidden_size
        )
        self.question = WeightNormLayers().nonlinear(hidden_size, hidden_size)
        self.classifier = Classifier(hidden_size, 2 * hidden_size, answers, dropout)

    def forward(
        self, regions: RegionBatch, words: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B K"]]:
        """Return logits of the answers, and weights that are equal, as no region was looked at."""
        logits = self.classifier(self.question(self.encoder(words)))
        return logits, uniform_weights(regions.mask).to(logits)
