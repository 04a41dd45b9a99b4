"""Schedules of the learning rate that torch does not have."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class NoamLR(LambdaLR):
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


class EpochwiseLR(LambdaLR):
    """A factor for each of the first epochs, of which the last holds, then down at milestones.

    Args:
        optimizer: whose rates are set.
        steps_per_epoch: optimiser steps.
        first: factors of the first epochs.
        milestones: the epochs, counted from 0, from which on the rate is ``gamma`` times what it was.
        gamma: a factor.
        kwargs: of ``LambdaLR``.

    Raises:
        ValueError: there is no first factor.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        steps_per_epoch: int,
        first: Sequence[float],
        milestones: Sequence[int],
        gamma: float,
        **kwargs: Any,
    ) -> None:
        if not first:
            raise ValueError("a schedule by epochs needs the factor of at least one epoch")

        def factor(step: int) -> float:
            epoch = step // steps_per_epoch
            passed = sum(epoch >= milestone for milestone in milestones)
            return float(first[min(epoch, len(first) - 1)] * gamma**passed)

        super().__init__(optimizer, factor, **kwargs)
