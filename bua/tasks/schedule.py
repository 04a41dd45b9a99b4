"""Schedules of the learning rate that torch does not have."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class Noam(LambdaLR):
    """Up linearly for ``warmup`` steps, then down with the root of the step (Vaswani et al. 2017, 5.3).

    The optimiser's rate is a factor before ``size ** -0.5 * min(step ** -0.5, step * warmup ** -1.5)``.

    Args:
        optimizer: whose rates are set.
        size: of the model.
        warmup: steps.
        kwargs: of ``LambdaLR``.
    """

    def __init__(self, optimizer: Optimizer, *, size: int, warmup: int, **kwargs: Any) -> None:
        def factor(step: int) -> float:
            now = step + 1
            return float(size**-0.5 * min(now**-0.5, now * warmup**-1.5))

        super().__init__(optimizer, factor, **kwargs)
