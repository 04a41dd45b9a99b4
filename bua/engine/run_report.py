"""What a training is going to do, in a few lines, and what a user may not expect of its end."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from bua.engine.run_directory import RunDirectory
from bua.tasks.base import BaseTask


def describe_begin(task: BaseTask, data: Any, writes: str) -> Iterator[str]:
    """Yield lines about the data and the model of a training, and about what it writes.

    Args:
        task: Task with its model.
        data: DataModule.
        writes: Where the training writes.
    """
    yield from data.describe()
    total = sum(parameter.numel() for parameter in task.parameters())
    fixed = sum(parameter.numel() for parameter in task.parameters() if not parameter.requires_grad)
    model = type(getattr(task, "model", task)).__name__
    yield f"model: {model}, {total:,} parameters{f', of which {fixed:,} are fixed' if fixed else ''}"
    yield f"writes: {writes}"


def describe_outputs(run: RunDirectory, loggers: Iterable[str]) -> str:
    """Return where a run and its loggers write."""
    return f"{run.path}, with metrics.csv{''.join(f', {name}' for name in loggers)}"


def describe_end(run: RunDirectory, trainer: pl.Trainer) -> Iterator[str]:
    """Yield lines about what a user may not expect of a training that has ended."""
    for callback in trainer.early_stopping_callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch:
            yield f"{run.path}: {describe_stop(callback, best_row(run.path / 'metrics.csv', callback))}"
    if not trainer.checkpoint_callbacks:
        yield f"{run.path}: no checkpoint was saved, because both callbacks that save one were removed"
    elif not run.checkpoint_files():
        yield f"{run.path}: no step was trained, so no checkpoint was saved"
    elif not run.best_checkpoint().exists():
        yield f"{run.path}: no validation was due, so only last.ckpt was saved"


def describe_stop(callback: EarlyStopping, best: Mapping[str, str] | None) -> str:
    """Return why a training stopped early.

    Args:
        callback: Callback that stopped it.
        best: Row of the metrics with the best value; ``None`` if there is none.
    """
    place = "" if best is None else f", the best is {float(best[callback.monitor]):.4g} of epoch "
    place += "" if best is None else f"{int(best['epoch']) + 1}, step {best['step']}"
    if callback.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
        return f"stopped in epoch {callback.stopped_epoch + 1}: {callback.monitor} is not finite{place}"
    noun = "validation" if callback.patience == 1 else "validations"
    return (
        f"stopped in epoch {callback.stopped_epoch + 1}: {callback.monitor} did not improve in "
        f"{callback.patience} {noun} (patience={callback.patience}){place}"
    )


def best_row(metrics: Path, callback: EarlyStopping) -> dict[str, str] | None:
    """Return the first row with the best finite value of the monitored metric, or ``None``.

    Args:
        metrics: CSV file of the metrics.
        callback: Callback that monitors one of them.
    """
    with open(metrics, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(callback.monitor)]
    finite = [row for row in rows if math.isfinite(float(row[callback.monitor]))]
    sign = 1 if callback.mode == "min" else -1
    return min(finite, key=lambda row: sign * float(row[callback.monitor]), default=None)
