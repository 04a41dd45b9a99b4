"""A metric of captions, with the interface of torchmetrics."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class Repetitions(Metric):
    """Fraction of captions in which a word follows itself, such as "a a dog"."""

    higher_is_better = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("repeated", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Count generated captions; the references of each are not needed."""
        words = [caption.split() for caption in captions]
        self.repeated += sum(any(a == b for a, b in zip(w, w[1:], strict=False)) for w in words)
        self.count += len(words)

    def compute(self) -> Tensor:
        """Return the fraction, 0 if there are no captions."""
        return self.repeated / self.count.clamp(min=1)
