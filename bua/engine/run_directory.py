"""Run directories: the configuration, provenance, state and checkpoints of a training run."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bua.errors import InputError
from bua.io.files import write_text

#: Files that a run writes later than at its start.
LATER_FILES = (
    "metrics.csv",
    "vocabulary.json",
    "answers.json",
    "document_frequencies.npz",
    "rewards.txt",
)


class RunDirectory:
    """The directory of one run.

    It holds ``config.yaml``, ``overrides.yaml``, ``status.json``, ``provenance.json``, ``metrics.csv``,
    ``vocabulary.json`` and ``checkpoints/``.

    Args:
        path: Path of the directory.
        is_writer: Whether this process writes to it; of several that train together, one does.
    """

    def __init__(self, path: Path | str, *, is_writer: bool = True) -> None:
        self.path, self.is_writer = Path(path), is_writer
        self.checkpoints = self.path / "checkpoints"

    def check_new(self) -> None:
        """Raise ``InputError`` if the directory holds a run, unless that failed without a checkpoint."""
        status = self.path / "status.json"
        if not self.is_writer or not status.exists():
            return
        state = json.loads(status.read_text())["state"]
        if state == "failed" and not self.last_checkpoint() and not self.best_checkpoint().exists():
            return
        hint = "give resume=true to continue it" if self.last_checkpoint() else "delete it"
        raise InputError(f"{self.path}: already holds a run ({state}); {hint}, or give another out")

    def start(self, config: Any, overrides: Sequence[str], provenance: Mapping[str, Any]) -> None:
        """Write what is known at the start of a run."""
        if not self.is_writer:
            return
        for name in LATER_FILES:  # of a run that failed without a checkpoint
            (self.path / name).unlink(missing_ok=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        write_text(self.path / "overrides.yaml", yaml.safe_dump(list(overrides)))
        write_text(self.path / "provenance.json", json.dumps(provenance, indent=2))
        self.set_status("running")

    def config(self) -> dict[str, Any]:
        """Return the configuration that the run was started with.

        Raises:
            InputError: If it does not exist or cannot be read.
        """
        path = self.path / "config.yaml"
        try:
            return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError, yaml.YAMLError):
            raise InputError(f"{path}: not the configuration of a run") from None

    def set_status(self, state: str, **details: Any) -> None:
        """Record the state of the run: "running", "done", "interrupted" or "failed"."""
        if self.is_writer:
            content = {"state": state, "pid": os.getpid(), **details}
            write_text(self.path / "status.json", json.dumps(content))

    def metrics(self) -> dict[str, float]:
        """Return the metrics that the status holds."""
        path = self.path / "status.json"
        return dict(json.loads(path.read_text()).get("metrics", {})) if path.exists() else {}

    def best_checkpoint(self) -> Path:
        """Return the path of the best checkpoint, which exists once a validation was made."""
        return self.checkpoints / "best.ckpt"

    def last_checkpoint(self) -> Path | None:
        """Return the newest checkpoint to resume from, if there is one."""
        paths = (self.checkpoints / f"{name}.ckpt" for name in ("last", "step"))
        found = [path for path in paths if path.exists()]
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
