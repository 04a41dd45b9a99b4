"""Callbacks of a training run: the last checkpoint, and the log of metrics."""

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from torch import Tensor

from bua.errors import InputError
from bua.io.files import read_text
from bua.io.write import write_text


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
    """

    def __init__(self, path: Path, every_n_steps: int | None = None) -> None:
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


class MetricsLogger(Callback):
    """Writes metrics to a CSV file and reports them in a line of text.

    A row is written after every epoch and after every validation in the middle of an epoch. Training metrics
    (``train/``) are averaged over the batches since the previous row, even if the epoch was interrupted and
    resumed in between. In long epochs, a line is also reported every few minutes.

    Args:
        path: Path of the CSV file.
        report: Called with each line.

    Attributes:
        means: Training metrics of the last row.
    """

    #: Seconds between lines within an epoch.
    INTERVAL = 300

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self.path, self.report = path, report
        self.started = self.epoch_started = self.last_report = time.monotonic()
        self.first_step = 0
        self.validated = False
        self.means: dict[str, float] = {}
        self._sums: dict[str, Tensor | float] = {}
        self._batches = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the sums since the last row, from which a resumed run continues."""
        return {"sums": {name: float(value) for name, value in self._sums.items()}, "batches": self._batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the sums of a checkpoint."""
        self._sums, self._batches = dict(state_dict["sums"]), state_dict["batches"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the step from which the remaining time is estimated, and check the rows of a resumed run."""
        _read_rows(self.path)
        self.first_step = trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self.epoch_started = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the metrics of a batch, on their device, and report a line if none was reported recently."""
        self._batches += 1
        for name, value in trainer.callback_metrics.items():
            if name.startswith("train/"):
                self._sums[name] = self._sums.get(name, 0) + value.detach().float()
        now = time.monotonic()
        if trainer.is_global_zero and now - self.last_report > self.INTERVAL:
            self.last_report = now
            loss = self._sums.get("train/loss")
            shown = f"  train/loss {float(loss) / self._batches:.4g}" if loss is not None else ""
            self.report(f"step {trainer.global_step}{shown}{self._remaining_time(trainer)}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a row if the validation is in the middle of an epoch."""
        self.validated = True
        if not trainer.is_last_batch and not trainer.sanity_checking:
            self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a row with everything logged since the previous one, and print it."""
        now = time.monotonic()
        if self._batches:
            self.means = {name: float(value) / self._batches for name, value in self._sums.items()}
            self._sums, self._batches = {}, 0
        if not trainer.is_global_zero:
            return
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()} | self.means
        metrics = {n: logged[n] for n in sorted(logged) if self.validated or not n.startswith("val/")}
        self.validated = False
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(now - self.epoch_started, 2),
            **metrics,
        }
        _append_row(self.path, row)
        self.last_report = now
        shown = "  ".join(f"{n} {v:.4g}" for n, v in metrics.items() if _is_shown(n))
        progress = f"step {trainer.global_step}"
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            progress = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.report(f"{progress}  {shown}{self._remaining_time(trainer)}")

    def _remaining_time(self, trainer: Trainer) -> str:
        """Return an estimate of the remaining time, based on the duration of the steps so far."""
        steps = trainer.estimated_stepping_batches
        done = trainer.global_step - self.first_step
        if steps == float("inf") or done < 1:
            return ""
        remaining = (time.monotonic() - self.started) / done * (steps - trainer.global_step)
        return f"  ({max(remaining, 0):.0f} s left)"


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.csv``; none if it does not exist.

    Raises:
        InputError: If it is damaged.
    """
    if not path.exists():
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise InputError(f"{path}: damaged ({error}); move it elsewhere and resume again") from None
    for n, row in enumerate(rows, 2):
        if None in row or not str(row.get("step")).isdecimal():
            raise InputError(f"{path}: line {n} is no row of metrics; move it elsewhere and resume again")
    return rows


def _append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a CSV file, after dropping rows of later steps, which a resumed run repeats."""
    rows = [old for old in _read_rows(path) if int(old["step"]) <= row["step"]]
    if rows and int(rows[-1]["step"]) == row["step"]:  # a validation at the very end of an epoch
        row = {**rows.pop(), **row}
    rows.append(row)
    names = list(dict.fromkeys(name for r in rows for name in r))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _is_shown(name: str) -> bool:
    return name.count("/") == 1 and (name == "train/loss" or name.startswith("val/"))
