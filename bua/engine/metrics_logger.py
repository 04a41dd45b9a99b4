"""The log of metrics: rows of ``metrics.csv``, and lines of text with the remaining time."""

import csv
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from bua.engine.callbacks import LearningRateLogger
from bua.errors import InputError
from bua.io.files import read_text
from bua.io.progress import format_seconds
from bua.io.write import write_text


class MetricsLogger(Callback):
    """Writes metrics to a CSV file and reports them in a line of text.

    A row is written after every epoch and after every validation in the middle of an epoch. Training metrics
    (``train/``) are averaged over the batches since the previous row, even if the epoch was interrupted and
    resumed in between. In long epochs, a line is also reported every minute.

    Args:
        path: Path of the CSV file.
        report: Called with each line.

    Attributes:
        means: Training metrics of the last row.
    """

    #: Seconds between lines within an epoch.
    INTERVAL = 60

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
        """Report the number of steps, and check the rows of a resumed run."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            _read_rows(self.path)
        self.started, self.first_step = time.monotonic(), trainer.global_step
        if trainer.is_global_zero:
            self.report(f"steps: {_describe_steps(trainer)}")

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
        logged = logged_metrics(trainer) | self.means
        metrics = {n: logged[n] for n in sorted(logged) if self.validated or not n.startswith("val/")}
        self.validated = False
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(now - self.epoch_started, 2),
            **metrics,
        }
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
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
        return f"  ({format_seconds(remaining)} left)"


def logged_metrics(trainer: Trainer) -> dict[str, float]:
    """Return the metrics that the task has logged; learning rates are for loggers only."""
    metrics = trainer.callback_metrics.items()
    return {n: float(value) for n, value in metrics if not n.startswith(LearningRateLogger.PREFIX)}


def _describe_steps(trainer: Trainer) -> str:
    """Return how many optimizer steps an epoch and the training have, and where a resumed one begins."""
    batches, total = trainer.num_training_batches, trainer.estimated_stepping_batches
    begun = f", beginning at {trainer.global_step:,}" if trainer.global_step else ""
    if batches in (0, float("inf")):
        return f"none{begun}" if batches == 0 else f"{total:,} in all{begun}"
    per_epoch = math.ceil(batches / trainer.accumulate_grad_batches)
    end = "no end" if total == float("inf") else f"{int(total):,} in all"
    return f"{per_epoch:,} per epoch, {end}{begun}"


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
