"""What a trained model says: captions and answers, with where it looked.

Shapes: K regions, T words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bua.structures.regions import Regions


@dataclass(frozen=True)
class CaptionCandidate:
    """One thing that can be said of an image.

    Attributes:
        text: the caption.
        words: its words.
        log_prob: sum of the log-probabilities of its words and its end.
        weights: (T, K), how much each word looked at each region; the mean of its pieces where a word
            was said in pieces.
    """

    text: str
    words: list[str]
    log_prob: float
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class CaptionOutput:
    """What was said of one image.

    Attributes:
        candidates: all that the search found, best first.
        regions: the regions.
    """

    candidates: list[CaptionCandidate]
    regions: Regions

    @property
    def text(self) -> str:
        """The best caption."""
        return self.candidates[0].text

    @property
    def words(self) -> list[str]:
        """Its words."""
        return self.candidates[0].words

    @property
    def log_prob(self) -> float:
        """Sum of the log-probabilities of its words and its end."""
        return self.candidates[0].log_prob

    @property
    def weights(self) -> NDArray[np.float32]:
        """(T, K), how much each of its words looked at each region."""
        return self.candidates[0].weights


@dataclass(frozen=True)
class VQAPrediction:
    """The answer to one question.

    Attributes:
        candidates: the best answers with their scores, 0 to 1, best first.
        weights: (K,), how much each region was looked at.
    """

    candidates: list[tuple[str, float]]
    weights: NDArray[np.float32]

    @property
    def text(self) -> str:
        """The best answer."""
        return self.candidates[0][0]

    @property
    def score(self) -> float:
        """Its score, 0 to 1."""
        return self.candidates[0][1]


@dataclass(frozen=True)
class VQAOutput(VQAPrediction):
    """The answer to one question about one image, and the image's regions."""

    regions: Regions


def merge_subword_attention(weights: NDArray[np.float32], lengths: Sequence[int]) -> NDArray[np.float32]:
    """Return how much each word looked at each region, as the mean of its pieces.

    Args:
        weights: (T, K) or more steps, of the pieces.
        lengths: of how many pieces each word is made.
    """
    if not lengths:
        return weights[:0]
    counts = np.array(lengths)
    ends = counts.cumsum()
    sums = np.add.reduceat(weights[: ends[-1]], ends - counts)
    means: NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)
    return means
