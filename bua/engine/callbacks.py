"""The checkpoint from which a run goes on."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Keeps one file up to date: after every epoch, and where training stops or is validated within one.

    Unlike ``ModelCheckpoint`` it does so whether validations are due or not, and an epoch that is cut, by
    ``max_steps`` or ``max_time``, goes on from there instead of counting as done.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where training is about to stop within an epoch."""
        stops = trainer.should_stop and _may_stop(trainer)
        if (stops or trainer.global_step == trainer.max_steps) and not trainer.is_last_batch:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation within an epoch."""
        if not trainer.sanity_checking and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after an epoch that was not cut."""
        if trainer.is_last_batch:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.path)


def _may_stop(trainer: Trainer) -> bool:
    """Say whether a training that is told to stop has been as long as it must be."""
    return trainer.current_epoch >= (trainer.min_epochs or 0) and trainer.global_step >= (
        trainer.min_steps or 0
    )
