"""Classifiers over answers.

Shapes: B questions, H hidden, C answers, S vector of an answer.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from bua.models.layers import GatedTanh, weight_norm_linear


class Classifier(nn.Sequential):
    """Two weight-normalized linear layers with ReLU and dropout in between."""

    def __init__(self, in_size: int, hidden_size: int, answers: int, dropout: float) -> None:
        super().__init__(
            weight_norm_linear(in_size, hidden_size),
            nn.ReLU(),
            nn.Dropout(dropout),
            weight_norm_linear(hidden_size, answers),
        )


class TwoStreamClassifier(nn.Module):
    """W_text f_text(h) + W_image f_image(h) with gated tanh layers f (Teney et al. 2018, section 3.6).

    The rows of W_text can be initialized with word vectors of the answers, those of W_image with features of
    images of the answers. Both are fine-tuned with smaller learning rates than the other parameters.

    Args:
        in_size: H.
        answers: C.
        text_size: Size of the word vectors.
        image_size: Size of the image features.
    """

    #: Factors of the learning rate, by parameter.
    lr_multipliers: Mapping[str, float] = {"text.weight": 0.5, "image.weight": 0.01}

    def __init__(self, *, in_size: int, answers: int, text_size: int, image_size: int) -> None:
        super().__init__()
        self.to_text, self.to_image = GatedTanh(in_size, text_size), GatedTanh(in_size, image_size)
        self.text = nn.Linear(text_size, answers, bias=False)
        self.image = nn.Linear(image_size, answers, bias=False)

    @torch.no_grad()
    def init_vectors(self, stream: str, vectors: Float[Tensor, "C S"], known: Bool[Tensor, " C"]) -> None:
        """Initialize one stream with vectors of the answers.

        Args:
            stream: "text" or "image".
            vectors: One row per answer.
            known: True where an answer has a vector; the rows of other answers are left as they are.
        """
        weight = {"text": self.text, "image": self.image}[stream].weight
        weight[known] = vectors[known].to(weight)

    def forward(self, x: Float[Tensor, "B H"]) -> Float[Tensor, "B C"]:
        """Return the logits of the answers."""
        logits: Tensor = self.text(self.to_text(x)) + self.image(self.to_image(x))
        return logits
