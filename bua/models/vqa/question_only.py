"""The baseline that answers from the question alone.

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
    """The baseline that does not see the image: the Up-Down VQA model without its image half.

    For the question encoding q, with weight-normalized layers f with ReLU ::

        h    = f_q(q)
        p(y) = sigmoid(W_o f_o(h))

    Args:
        vocabulary_size: Number of words of questions.
        answers: C.
        word_size: Size of word vectors.
        hidden_size: Size of q and h.
        dropout: Dropout of f_o(h).
    """

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
        """Return the logits of the answers, and equal weights of the regions in place of attention."""
        q = self.encoder(words)
        logits = self.classifier(self.question(q))
        return logits, uniform_weights(regions.mask).to(logits)
