"""What predictors return: captions and answers with the attention behind them.

Shapes: K regions, T words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bua.structures.regions import Regions


@dataclass(frozen=True)
class CaptionCandidate:
    """One caption that a search found.

    Attributes:
        text: The caption.
        words: Words of the caption.
        log_prob: Sum of the log-probabilities of its words and its end token.
        weights: Attention of each word over the regions, shape (T, K); the mean over the subwords where a
            word was generated in several.
    """

    text: str
    words: list[str]
    log_prob: float
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class CaptionOutput:
    """The captions of one image.

    Attributes:
        candidates: All captions that the search found, best first.
        regions: Regions of the image.
    """

    candidates: list[CaptionCandidate]
    regions: Regions

    @property
    def text(self) -> str:
        """The best caption."""
        return self.candidates[0].text

    @property
    def words(self) -> list[str]:
        """Words of the best caption."""
        return self.candidates[0].words

    @property
    def log_prob(self) -> float:
        """Sum of the log-probabilities of the words of the best caption and its end token."""
        return self.candidates[0].log_prob

    @property
    def weights(self) -> NDArray[np.float32]:
        """Attention of each word of the best caption over the regions, shape (T, K)."""
        return self.candidates[0].weights


@dataclass(frozen=True)
class VQAPrediction:
    """The answer to one question.

    Attributes:
        candidates: The best answers with their scores, 0 to 1, best first.
        weights: Attention over the regions, shape (K,).
    """

    candidates: list[tuple[str, float]]
    weights: NDArray[np.float32]

    @property
    def text(self) -> str:
        """The best answer."""
        return self.candidates[0][0]

    @property
    def score(self) -> float:
        """Score of the best answer, 0 to 1."""
        return self.candidates[0][1]


@dataclass(frozen=True)
class VQAOutput(VQAPrediction):
    """The answer to one question about one image.

    Attributes:
        regions: Regions of the image.
    """

    regions: Regions


def merge_subword_attention(weights: NDArray[np.float32], lengths: Sequence[int]) -> NDArray[np.float32]:
    """Return the attention of each word as the mean over its subwords, shape (len(lengths), K).

    Args:
        weights: Attention of the subwords, shape (T, K); rows after the last word are ignored.
        lengths: Number of subwords of each word.
    """
    if not lengths:
        return weights[:0]
    counts = np.array(lengths)
    ends = counts.cumsum()
    sums = np.add.reduceat(weights[: ends[-1]], ends - counts)
    means: NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)
    return means
