"""Losses and what their sums are divided by, without which a learning rate means nothing.

Shapes: B images or questions, N captions an image, T words, C answers.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from bua.errors import check_number

#: What a loss over words may be divided by.
PER = ("word", "caption", "caption_mean")
#: What a loss over answers may be divided by.
ANSWER_PER = ("question", "batch", "answer")


@dataclass(frozen=True)
class LossReduction:
    """How the values of words become one number.

    Attributes:
        per: ``word``: the mean over all words (self-critical.pytorch, xmodaler, Caffe); ``caption``: the sum
            over the words of a caption, the mean over captions (updown-baseline); ``caption_mean``:
            the mean over the words of a caption, the mean over captions (Oscar).
        scale: times this; 20 in Up-Down's Caffe release.
    """

    per: str = "word"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.per not in PER:
            raise ValueError(f"a loss per {self.per!r}; it must be per {', '.join(PER)}")
        check_number("scale of a loss", self.scale, without=0)

    def __call__(self, values: Float[Tensor, "B N T"], counted: Bool[Tensor, "B N T"]) -> Float[Tensor, ""]:
        """Return one number; 0 where nothing counts.

        Args:
            values: of the words.
            counted: which of them count; a caption of which none does is no caption.
        """
        total = values.masked_fill(~counted, 0)
        words = counted.sum(-1)
        if self.per == "word":
            return self.scale * total.sum() / words.sum().clamp(min=1)
        each = total.sum(-1)
        if self.per == "caption_mean":
            each = each / words.clamp(min=1)
        return self.scale * each.sum() / (words > 0).sum().clamp(min=1)


@dataclass(frozen=True)
class AnswerLoss:
    """Binary cross-entropy of every answer against its soft score.

    Attributes:
        per: ``question``: the sum over answers, the mean over questions (hengyuan-hu, BAN, Pythia);
            ``batch``: the sum over both (OpenVQA, MCAN); ``answer``: the mean over both.
    """

    per: str = "question"

    def __post_init__(self) -> None:
        if self.per not in ANSWER_PER:
            raise ValueError(f"a loss per {self.per!r}; it must be per {', '.join(ANSWER_PER)}")

    def __call__(self, logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
        """Return one number."""
        total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return total / {"question": len(logits), "batch": 1, "answer": logits.numel()}[self.per]
