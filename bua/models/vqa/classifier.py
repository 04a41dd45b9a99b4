"""From what is known of question and image to logits of answers.

Shapes: B questions, H hidden, C answers, W text, I image.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from bua.models.layers import GatedTanh, weight_norm_linear


class Classifier(nn.Sequential):
    """Two weight-normed layers with ReLU and dropout between them."""

    def __init__(self, in_size: int, hidden_size: int, answers: int, dropout: float) -> None:
        super().__init__(
            weight_norm_linear(in_size, hidden_size),
            nn.ReLU(),
            nn.Dropout(dropout),
            weight_norm_linear(hidden_size, answers),
        )


class TwoStreamClassifier(nn.Module):
    """W_text f_text(h) + W_image f_image(h), each f a gated tanh (Teney et al. 2018, section 3.6).

    A row of W_text is the word vector of an answer, one of W_image the features of images of it; both
    are learnt on from there, more slowly than the rest.
    """

    #: What the learning rate of a parameter is multiplied with.
    rates: Mapping[str, float] = {"text.weight": 0.5, "image.weight": 0.01}

    def __init__(self, *, in_size: int, answers: int, text_size: int, image_size: int) -> None:
        super().__init__()
        self.to_text, self.to_image = GatedTanh(in_size, text_size), GatedTanh(in_size, image_size)
        self.text = nn.Linear(text_size, answers, bias=False)
        self.image = nn.Linear(image_size, answers, bias=False)

    @torch.no_grad()
    def begin(self, which: str, rows: Float[Tensor, "C S"], known: Bool[Tensor, " C"]) -> None:
        """Begin with known vectors of answers; the others stay as they are.

        Args:
            which: "text" or "image".
            rows: the vectors.
            known: of which answers there is one.
        """
        weight = {"text": self.text, "image": self.image}[which].weight
        weight[known] = rows[known].to(weight)

    def forward(self, x: Float[Tensor, "B H"]) -> Float[Tensor, "B C"]:
        """Return the logits of the answers."""
        logits: Tensor = self.text(self.to_text(x)) + self.image(self.to_image(x))
        return logits
