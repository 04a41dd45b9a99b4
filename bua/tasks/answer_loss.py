"""How far scores of answers are from what annotators said: learning rates mean nothing without its scale.

Shapes: B questions, C answers.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

PER = ("question", "batch", "answer")


@dataclass(frozen=True)
class AnswerLoss:
    """Binary cross-entropy of every answer against its soft score.

    Attributes:
        per: ``question``: the sum over answers, the mean over questions (hengyuan-hu, BAN, Pythia);
            ``batch``: the sum over both (OpenVQA, MCAN); ``answer``: the mean over both.
    """

    per: str = "question"

    def __post_init__(self) -> None:
        if self.per not in PER:
            raise ValueError(f"a loss per {self.per!r}; it must be per {', '.join(PER)}")

    def __call__(self, logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
        """Return one number."""
        total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return total / {"question": len(logits), "batch": 1, "answer": logits.numel()}[self.per]
