"""Learning rate schedules that torch does not have, or not for every number of steps."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LambdaLR


class NoamLR(LambdaLR):
    """Linear warm-up, then inverse square root decay (Vaswani et al. 2017, section 5.3).

    The learning rate of the optimizer is a factor of
    ``size ** -0.5 * min(step ** -0.5, step * warmup ** -1.5)``.

    Args:
        optimizer: Optimizer whose learning rates are set.
        size: Model size.
        warmup: Number of warm-up steps.
        kwargs: Arguments of ``LambdaLR``.
    """

    def __init__(self, optimizer: Optimizer, *, size: int, warmup: int, **kwargs: Any) -> None:
        def factor(step: int) -> float:
            current = step + 1
            return float(size**-0.5 * min(current**-0.5, current * warmup**-1.5))

        super().__init__(optimizer, factor, **kwargs)


class EpochwiseLR(LambdaLR):
    """Learning rate with a factor for each of the first epochs, then decay at milestones.

    Args:
        optimizer: Optimizer whose learning rates are set.
        steps_per_epoch: Number of optimizer steps per epoch.
        first: Factors of the first epochs; the last one applies to all later epochs.
        milestones: Epochs, counted from 0, at which the rate is multiplied by ``gamma``.
        gamma: Factor at each milestone.
        kwargs: Arguments of ``LambdaLR``.

    Raises:
        ValueError: If there is no first factor.
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
            raise ValueError("first must hold the factor of at least one epoch")

        def factor(step: int) -> float:
            epoch = step // steps_per_epoch
            passed = sum(epoch >= milestone for milestone in milestones)
            return float(first[min(epoch, len(first) - 1)] * gamma**passed)

        super().__init__(optimizer, factor, **kwargs)


class OneCycleLR(lr_scheduler.OneCycleLR):
    """The one-cycle policy of torch, which divides by zero if the warm-up is exactly one step long.

    Args:
        optimizer: Optimizer whose learning rates are set.
        total_steps: Number of optimizer steps.
        pct_start: Fraction of the steps in which the learning rate rises.
        kwargs: Arguments of torch's ``OneCycleLR``.
    """

    def __init__(self, optimizer: Optimizer, *, total_steps: int, pct_start: float, **kwargs: Any) -> None:
        if pct_start * total_steps == 1:  # then its first phase begins and ends with step 0
            pct_start *= 1 - 1e-9
        super().__init__(optimizer, total_steps=total_steps, pct_start=pct_start, **kwargs)
