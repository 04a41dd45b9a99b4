"""Models that answer a question about regions by scoring a fixed list of answers.

Shapes: B questions, T words (padding in front), K regions (padded), D region features, Q question,
H hidden, C answers.
"""

from jaxtyping import Float, Int
from torch import Tensor, nn

from bua.models.attention import normed_linear, uniform
from bua.models.regions import RegionBatch


class QuestionEncoder(nn.Module):
    """The last state of a GRU over word vectors.

    Questions are padded in front to a fixed length, so that the last state has just read the last
    word; padding is a zero vector.
    """

    def __init__(self, *, vocabulary_size: int, word_size: int, question_size: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary_size, word_size, padding_idx=0)
        self.gru = nn.GRU(word_size, question_size, batch_first=True)
        self.question_size = question_size

    def forward(self, words: Int[Tensor, "B T"]) -> Float[Tensor, "B Q"]:
        """Return one vector a question."""
        _, last = self.gru(self.word(words))
        vector: Tensor = last.squeeze(0)
        return vector


def classifier(in_size: int, hidden_size: int, answers: int, dropout: float) -> nn.Sequential:
    """Return two weight-normed layers with ReLU and dropout between them."""
    return nn.Sequential(
        normed_linear(in_size, hidden_size),
        nn.ReLU(),
        nn.Dropout(dropout),
        normed_linear(hidden_size, answers),
    )


class UpDownAnswerer(nn.Module):
    """The Up-Down VQA model (Anderson et al. 2018, section 3.3) in its most copied form.

    One glimpse; question and attended region, each through a weight-normed layer with ReLU, are
    multiplied; scores are logits of independent sigmoids. With ``MeanPooling`` as its attention it
    is the baseline that looks everywhere alike.
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
    ) -> None:
        super().__init__()
        self.encoder = QuestionEncoder(
            vocabulary_size=vocabulary_size, word_size=word_size, question_size=hidden_size
        )
        self.attention = attention
        self.question = nn.Sequential(normed_linear(hidden_size, hidden_size), nn.ReLU())
        self.region = nn.Sequential(normed_linear(feature_size, hidden_size), nn.ReLU())
        self.classifier = classifier(hidden_size, 2 * hidden_size, answers, dropout)

    def forward(
        self, regions: RegionBatch, words: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B K"]]:
        """Return logits of the answers and the weights of the regions."""
        question = self.encoder(words)
        weights = self.attention(regions.features, question, regions.mask)
        attended = (weights.unsqueeze(1) @ regions.features).squeeze(1)
        return self.classifier(self.question(question) * self.region(attended)), weights


class QuestionOnlyAnswerer(nn.Module):
    """The baseline that answers without looking."""

    def __init__(
        self, *, vocabulary_size: int, answers: int, word_size: int, hidden_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.encoder = QuestionEncoder(
            vocabulary_size=vocabulary_size, word_size=word_size, question_size=hidden_size
        )
        self.question = nn.Sequential(normed_linear(hidden_size, hidden_size), nn.ReLU())
        self.classifier = classifier(hidden_size, 2 * hidden_size, answers, dropout)

    def forward(
        self, regions: RegionBatch, words: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B K"]]:
        """Return logits of the answers, and weights that are equal, as no region was looked at."""
        logits = self.classifier(self.question(self.encoder(words)))
        return logits, uniform(regions.mask).to(logits)
