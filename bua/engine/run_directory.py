"""Run directories: what was asked for, with what, on what, and how it went."""

import csv
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from bua.errors import InputError
from bua.io.atomic import write_text

#: What a run writes besides what is written at its start.
WRITTEN = ("metrics.csv", "vocabulary.json", "answers.json", "document_frequencies.npz", "rewards.txt")


class RunDirectory:
    """The folder of one run.

    Holds ``config.yaml``, ``overrides.yaml``, ``status.json``, ``provenance.json``,
    ``metrics.csv``, ``vocabulary.json`` and ``checkpoints/``.

    Args:
        path: the folder.
        keeps: whether this process writes to it; of several that train together, one does.
    """

    def __init__(self, path: Path | str, *, keeps: bool = True) -> None:
        self.path, self.keeps = Path(path), keeps
        self.checkpoints = self.path / "checkpoints"

    def check_new(self) -> None:
        """Raise ``InputError`` if a run is there already."""
        status = self.path / "status.json"
        if self.keeps and status.exists():
            state = json.loads(status.read_text())["state"]
            if state == "failed" and not self.last() and not self.best().exists():
                return  # it kept nothing
            hint = "give resume=true to go on with it" if self.last() else "delete it"
            raise InputError(f"{self.path}: a run is there already ({state}); {hint}, or give another out")

    def start(self, config: Any, overrides: list[str], origin: Mapping[str, Any]) -> None:
        """Write what is known at the start."""
        if not self.keeps:
            return
        for name in WRITTEN:  # by a run that failed before it kept anything
            (self.path / name).unlink(missing_ok=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        write_text(self.path / "overrides.yaml", yaml.safe_dump(overrides))
        write_text(self.path / "provenance.json", json.dumps(origin, indent=2))
        self.status("running")

    def config(self) -> dict[str, Any]:
        """Return the configuration that the run was started with.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        path = self.path / "config.yaml"
        try:
            return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError, yaml.YAMLError):
            raise InputError(f"{path}: not the configuration of a run") from None

    def status(self, state: str, **more: Any) -> None:
        """Record the state: running, done or failed."""
        if self.keeps:
            write_text(self.path / "status.json", json.dumps({"state": state, "pid": os.getpid(), **more}))

    def metrics(self) -> dict[str, float]:
        """Return the metrics that the status has."""
        path = self.path / "status.json"
        return dict(json.loads(path.read_text()).get("metrics", {})) if path.exists() else {}

    def best(self) -> Path:
        """Return where the best checkpoint is, once a validation was made."""
        return self.checkpoints / "best.ckpt"

    def last(self) -> Path | None:
        """Return the newest checkpoint, to resume from, if there is one."""
        found = [path for name in ("last", "step") if (path := self.checkpoints / f"{name}.ckpt").exists()]
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def read_run_data(run: Path | str, key: str) -> Any:
    """Return a key of the data that a run, or that of a checkpoint, was trained on, where none was given.

    Raises:
        InputError: there is none.
    """
    path = Path(run)
    directory = RunDirectory(path.parent.parent if path.is_file() else path)
    value = directory.config().get("data", {}).get(key)
    if not value:
        raise InputError(f"{directory.path}: its data have no {key}; give the file on the command line")
    return value


class MetricsLogger(Callback):
    """Writes a row to ``metrics.csv`` and a line to the terminal.

    After every epoch, after a validation within one, and a line every so many minutes of a long one. What
    is logged of batches (``train/``) is their mean since the row before.

    Attributes:
        means: those of the last row.
    """

    #: Seconds between lines within an epoch.
    SILENCE = 300

    def __init__(self, run: RunDirectory, report: Any) -> None:
        self.file, self.report = run.path / "metrics.csv", report
        self.started = self.epoch_started = time.monotonic()
        self.validated = False
        self.spoke, self.began = self.started, 0
        self.means: dict[str, float] = {}
        self._sums: dict[str, Tensor | float] = {}
        self._batches = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there are new numbers; record them if they are of the middle of an epoch."""
        self.validated = True
        if not trainer.is_last_batch and not trainer.sanity_checking:
            self.on_train_epoch_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return what was logged since the last row, so that a run that goes on counts it, too."""
        return {"sums": {name: float(value) for name, value in self._sums.items()}, "batches": self._batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._sums, self._batches = dict(state_dict["sums"]), state_dict["batches"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add what was logged of a batch, where it is; say a word in a long epoch."""
        self._batches += 1
        for name, value in trainer.callback_metrics.items():
            if name.startswith("train/"):
                self._sums[name] = self._sums.get(name, 0) + value.detach().float()
        now = time.monotonic()
        if trainer.is_global_zero and now - self.spoke > self.SILENCE:
            self.spoke = now
            loss = self._sums.get("train/loss")
            shown = f"  train/loss {float(loss) / self._batches:.4g}" if loss is not None else ""
            self.report(f"step {trainer.global_step}{shown}{self._left(trainer)}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where this process began."""
        self.began = trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self.epoch_started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record everything logged since the row before."""
        now = time.monotonic()
        if self._batches:
            self.means = {name: float(value) / self._batches for name, value in self._sums.items()}
            self._sums, self._batches = {}, 0
        if not trainer.is_global_zero:
            return
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()} | self.means
        values = {n: logged[n] for n in sorted(logged) if self.validated or not n.startswith("val/")}
        self.validated = False
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(now - self.epoch_started, 2),
            **values,
        }
        self._append(row)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in values.items() if k.count("/") == 1 and _shown(k))
        self.spoke = now
        place = f"step {trainer.global_step}"
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            place = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.report(f"{place}  {shown}{self._left(trainer)}")

    def _left(self, trainer: Trainer) -> str:
        """Return how long the training will still take, going by what it took so far."""
        steps = trainer.estimated_stepping_batches
        done = trainer.global_step - self.began
        if steps == float("inf") or done < 1:
            return ""
        left = (time.monotonic() - self.started) / done * (steps - trainer.global_step)
        return f"  ({max(left, 0):.0f} s left)"

    def _append(self, row: dict[str, Any]) -> None:
        rows: list[dict[str, Any]] = []
        if self.file.exists():
            with open(self.file, newline="") as file:
                rows = [old for old in csv.DictReader(file) if int(old["step"]) <= row["step"]]
        if rows and int(rows[-1]["step"]) == row["step"]:  # a validation at the very end of an epoch
            row = {**rows.pop(), **row}
        rows.append(row)
        names = list(dict.fromkeys(name for r in rows for name in r))
        with open(self.file, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)


def _shown(name: str) -> bool:
    return name in ("train/loss", "val/loss") or name.startswith("val/")
