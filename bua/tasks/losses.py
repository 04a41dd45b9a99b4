"""Losses and what their sums are divided by, without which a learning rate means nothing.

Shapes: B images or questions, N captions an image, T words, C answers.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from bua.errors import check_number

#: What a loss over words may be divided by.
PER_WORDS = ("word", "caption", "caption_mean")
#: What a loss over answers may be divided by.
PER_ANSWERS = ("question", "batch", "answer")


@dataclass(frozen=True)
class LossReduction:
    """How the losses of words become one number.

    Attributes:
        per: ``word``: the mean over all words (self-critical.pytorch, xmodaler, Caffe); ``caption``: the sum
            over the words of a caption, the mean over captions (updown-baseline); ``caption_mean``: the mean
            over the words of a caption, the mean over captions (Oscar).
        scale: Factor of the result; 20 in Up-Down's Caffe release.

    Raises:
        ValueError: If ``per`` does not exist or ``scale`` is not above 0.
    """

    per: str = "word"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.per not in PER_WORDS:
            raise ValueError(f"per must be one of {', '.join(PER_WORDS)}, got {self.per!r}")
        check_number("scale of a loss", self.scale, without=0)

    def __call__(self, losses: Float[Tensor, "B N T"], counted: Bool[Tensor, "B N T"]) -> Float[Tensor, ""]:
        """Return the reduced loss; 0 where no word counts.

        Args:
            losses: Losses of the words.
            counted: Which of them count; a caption without any does not count as a caption.
        """
        total = losses.masked_fill(~counted, 0)
        words = counted.sum(-1)
        if self.per == "word":
            return self.scale * total.sum() / words.sum().clamp(min=1)
        captions = total.sum(-1)
        if self.per == "caption_mean":
            captions = captions / words.clamp(min=1)
        return self.scale * captions.sum() / (words > 0).sum().clamp(min=1)


@dataclass(frozen=True)
class AnswerLoss:
    """Binary cross-entropy of every answer against its soft score.

    Attributes:
        per: ``question``: the sum over answers, the mean over questions (hengyuan-hu, BAN, Pythia);
            ``batch``: the sum over both (OpenVQA, MCAN); ``answer``: the mean over both.

    Raises:
        ValueError: If ``per`` does not exist.
    """

    per: str = "question"

    def __post_init__(self) -> None:
        if self.per not in PER_ANSWERS:
            raise ValueError(f"per must be one of {', '.join(PER_ANSWERS)}, got {self.per!r}")

    def __call__(self, logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
        """Return the reduced loss."""
        total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return total / {"question": len(logits), "batch": 1, "answer": logits.numel()}[self.per]
