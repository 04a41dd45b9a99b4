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
    """The model of Teney et al. 2018 (sections 3.2 to 3.6), which won the VQA challenge of 2017.

    For the question encoding q and region features v_i of unit length, every f being a gated tanh layer ::

        a_i   = w_a f_a([v_i, q])
        alpha = softmax(a)
        v_hat = sum_i alpha_i v_i
        h     = f_q(q) * f_v(v_hat)
        p(y)  = sigmoid(W_text f_text(h) + W_image f_image(h))

    W_text and W_image can be initialized with word vectors and image features of the answers.

    Args:
        feature_size: Size of a region feature.
        vocabulary_size: Number of words of questions.
        answers: C.
        word_size: Size of the word vectors of questions and answers.
        image_size: Size of the image features of answers.
        hidden_size: Size of q and h.
        counter: Counting module whose features are added to h; None for none.
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
        """Return the logits of the answers and the attention alpha."""
        q = self.encoder(words)
        unit = regions._replace(features=F.normalize(regions.features, dim=-1))
        h, alpha = self.glimpse(unit, q)
        return self.classifier(h), alpha
