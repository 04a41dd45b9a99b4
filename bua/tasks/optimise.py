"""What every task does the same way: its optimiser, its schedule and what its checkpoints carry."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

OptimizerFactory = Callable[[Iterable[Tensor]], Optimizer]
SchedulerFactory = Callable[..., LRScheduler]


class Task(LightningModule):
    """A model, how it is optimised, and the plain values from which it can be built again.

    Args:
        optimizer: makes the optimiser from parameters.
        scheduler: makes the schedule from the optimiser and ``total_steps``; stepped every batch.
        record: plain values that every checkpoint carries under ``bua``.
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        record: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._optimizer, self._scheduler, self._record = optimizer, scheduler, dict(record)

    def configure_optimizers(self) -> Any:
        """Optimise everything that has a gradient."""
        optimizer = self._optimizer([p for p in self.parameters() if p.requires_grad])
        if self._scheduler is None:
            return optimizer
        schedule = self._scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the record: configuration, vocabulary and hashes, as plain values."""
        checkpoint["bua"] = self._record
