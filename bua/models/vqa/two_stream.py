"""The VQA model of Teney et al. 2018, "Tips and Tricks for Visual Question Answering".

Shapes: B questions, T words (padded), K regions (padded), C answers.
"""

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import ConcatAttention
from bua.models.layers import GatedLayers
from bua.models.vqa.classifier import TwoStreamClassifier
from bua.models.vqa.counting import Counter
from bua.models.vqa.question_encoder import QuestionEncoder
from bua.models.vqa.updown import Glimpse
from bua.structures.region_batch import RegionBatch


class TwoStreamVQAModel(nn.Module):
    """The model of Teney et al. 2018, which won the VQA challenge of 2017.

    Gated tanh everywhere, regions of unit length, and a classifier of two streams that can begin with
    what words and images say of the answers.

    Args:
        feature_size: of a region.
        vocabulary_size: of the words of questions.
        answers: C.
        word_size: of word vectors, of words and of answers.
        image_size: of what images say of answers.
        hidden_size: of the question and of all that is multiplied.
        counter: adds what it counts, or nothing.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        answers: int,
        word_size: int,
        image_size: int,
        hidden_size: int,
        counter: Counter | None = None,
    ) -> None:
        super().__init__()
        self.encoder = QuestionEncoder(
            vocabulary_size=vocabulary_size, word_size=word_size, question_size=hidden_size
        )
        layers = GatedLayers()
        attention = ConcatAttention(
            feature_size=feature_size, question_size=hidden_size, hidden_size=hidden_size, layers=layers
        )
        self.glimpse = Glimpse(
            feature_size=feature_size,
            hidden_size=hidden_size,
            attention=attention,
            layers=layers,
            counter=counter,
        )
        self.classifier = TwoStreamClassifier(
            in_size=hidden_size, answers=answers, text_size=word_size, image_size=image_size
        )

    def forward(
        self, regions: RegionBatch, words: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B K"]]:
        """Return logits of the answers and the weights of the regions."""
        unit = regions._replace(features=F.normalize(regions.features, dim=-1))
        seen, weights = self.glimpse(unit, self.encoder(words))
        return self.classifier(seen), weights
