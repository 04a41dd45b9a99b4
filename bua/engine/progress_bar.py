"""Lightning's progress bar, drawn on the terminal."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from bua.io.progress import terminal


class TerminalProgressBar(TQDMProgressBar):
    """Lightning's bars of an epoch and of a validation, with the loss and the monitored metrics.

    See ``TQDMProgressBar`` for the arguments.
    """

    def init_train_tqdm(self) -> Tqdm:
        """Return the bar of an epoch."""
        return self._bar(self.train_description, position=0)

    def init_validation_tqdm(self) -> Tqdm:
        """Return the bar of a validation."""
        return self._bar(self.validation_description, position=1)

    def init_sanity_tqdm(self) -> Tqdm:
        """Return the bar of the validation before training."""
        return self._bar(self.sanity_check_description, position=0)

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Begin the bar of an epoch, with the number that the lines of metrics have."""
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what is shown behind the bar: the loss of the last batch."""
        loss = trainer.callback_metrics.get("train/loss")
        return {} if loss is None else {"train/loss": f"{float(loss):.4g}"}

    def _bar(self, description: str, position: int) -> Tqdm:
        return Tqdm(
            desc=description,
            position=2 * self.process_position + position,
            disable=self.is_disabled,
            leave=False,
            dynamic_ncols=True,
            file=terminal(),
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )
