"""Callbacks of a training run: the best and the last checkpoint, and the learning rate."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, LearningRateMonitor, ModelCheckpoint

from bua.errors import InputError


class BestCheckpoint(ModelCheckpoint):
    """Saves ``best.ckpt`` when the monitored metric has a new best value.

    Args:
        folder: Folder of the checkpoints.
        monitor: Name of the metric.
        mode: Whether the highest ("max") or the lowest value ("min") is best.
    """

    def __init__(self, folder: Path, *, monitor: str, mode: str) -> None:
        super().__init__(folder, "best", monitor, mode=mode, enable_version_counter=False)

    @property
    def metric(self) -> dict[str, float]:
        """The best value by the name of the metric after "best/"; nothing before the first validation."""
        score = self.best_model_score
        return {} if score is None else {f"best/{self.monitor}": float(score)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the best value of a checkpoint, also of a run that was moved to another folder."""
        if (score := state_dict["best_model_score"]) is None:
            return
        path = str(Path(str(self.dirpath)) / "best.ckpt")
        paths = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path}
        super().load_state_dict({**state_dict, **paths, "best_k_models": {path: score}})


class LastCheckpoint(Checkpoint):
    """Saves the last checkpoint after epochs, validations, every few steps, and when training stops.

    Unlike ``ModelCheckpoint`` it does not depend on validation. If ``max_steps`` or ``max_time`` ends the
    training in the middle of an epoch, the epoch is resumed there instead of counting as finished. Nothing
    is saved between the last step of an epoch and its end, because a resumed run would skip the validation.

    Args:
        path: Path of the checkpoint.
        every_n_steps: Number of optimizer steps between checkpoints within an epoch. Default: none.

    Raises:
        InputError: If ``every_n_steps`` is not an integer of at least 1.
    """

    def __init__(self, path: Path, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and (type(every_n_steps) is not int or every_n_steps < 1):
            raise InputError(f"every_n_steps={every_n_steps}: must be a number of steps, or null")
        self.path, self.every_n_steps = path, every_n_steps
        self._last_step = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save in the middle of an epoch if it is time to, or if training is about to stop."""
        step = trainer.global_step
        every = self.every_n_steps
        due = every is not None and step % every == 0 and step != self._last_step
        stops = trainer.should_stop and _is_long_enough(trainer)
        if (due or stops or step == trainer.max_steps) and not trainer.is_last_batch:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation in the middle of an epoch."""
        if not trainer.sanity_checking and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after an epoch that was not cut short."""
        if trainer.is_last_batch:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.path)
            self._last_step = trainer.global_step


def _is_long_enough(trainer: Trainer) -> bool:
    """Return whether ``min_epochs`` and ``min_steps`` are reached."""
    return trainer.current_epoch >= (trainer.min_epochs or 0) and trainer.global_step >= (
        trainer.min_steps or 0
    )


class LearningRateLogger(LearningRateMonitor):
    """Sends the learning rate to the loggers, if there are any besides ``metrics.csv``.

    See Lightning's ``LearningRateMonitor`` for the arguments.
    """

    #: Beginning of the names of the metrics.
    PREFIX = "lr-"

    def on_train_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Find the learning rates, unless there is no logger."""
        if trainer.loggers:
            super().on_train_start(trainer, *args, **kwargs)
