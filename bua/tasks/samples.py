"""Examples of what a model generates in validation, for loggers.

Shapes: T pieces of text, K regions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bua.structures.annotations import ImageId, QuestionId


@dataclass(frozen=True)
class Sample:
    """A caption or an answer with its attention.

    Attributes:
        example: Id of the image, or of the question.
        lines: Lines of text: what was generated, and what would have been right.
        words: Pieces of text with an attention of their own: the words of a caption, or one answer.
        attention: Attention of each piece over the regions of the image, shape (T, K).
    """

    example: ImageId | QuestionId
    lines: Sequence[str]
    words: Sequence[str]
    attention: NDArray[np.floating]


@contextmanager
def kept_random_state(device: torch.device) -> Iterator[None]:
    """Restore the random numbers of torch afterwards, so that a training is the same with and without."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
