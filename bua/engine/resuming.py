"""Resuming a run: from which checkpoint, and whether its options are those of the run."""

import inspect
import logging
from pathlib import Path
from typing import Any

import torch

from bua.engine.loading import describe_difference, read_checkpoint
from bua.engine.run_directory import RunDirectory
from bua.engine.run_options import changed_options
from bua.engine.targets import find_class
from bua.errors import InputError

log = logging.getLogger(__name__)


def can_resume(run: RunDirectory) -> bool:
    """Return whether a run has a checkpoint; one that was killed before the first starts again.

    Raises:
        InputError: If there is no run, or it is still training.
    """
    if not (run.path / "status.json").exists():
        raise InputError(f"{run.path}: holds no run to resume; leave out resume=true")
    run.check_idle()
    if run.checkpoint_files():
        return True
    log.info(f"{run.path}: has no checkpoint yet, so the training starts from the beginning")
    return False


def intact_checkpoint(run: RunDirectory) -> Path:
    """Return the newest checkpoint that is not damaged.

    Raises:
        InputError: If all of them are damaged.
    """
    for path in run.checkpoint_files():
        try:
            read_checkpoint(path)
        except InputError as error:
            log.warning(f"{error}; trying an earlier one")
        else:
            return path
    raise InputError(f"{run.path}: all of its checkpoints are damaged; delete it and start again")


def check_resumable(
    run: RunDirectory, checkpoint: Path, config: dict[str, Any], record: dict[str, Any]
) -> None:
    """Raise ``InputError`` if a run cannot be resumed from a checkpoint with a configuration."""
    trained, former = read_checkpoint(checkpoint)[0], run.config()
    changed = list(changed_options(former, config))
    changed += [
        f"{key} differs from that of the run ({describe_difference(trained.get(key), record[key])})"
        for key in record
        if key not in ("model", "objective") and trained.get(key) != record[key]
    ]
    changed.sort(key=lambda text: text.startswith("model"))  # last, because its sizes follow from the rest
    if changed:
        raise InputError(f"{run.path}: {changed[0]}; resume with the same options")
    trainer = former["trainer"]
    if _depends_on_length(config.get("scheduler")):
        for key in ("max_epochs", "max_steps"):
            if trainer.get(key) != config["trainer"].get(key):
                raise InputError(
                    f"{run.path}: schedule was made for trainer.{key}={trainer.get(key)}; resume with it"
                )


def _depends_on_length(scheduler: dict[str, Any] | None) -> bool:
    """Return whether a schedule depends on the length of the training."""
    if not scheduler:
        return False
    return "total_steps" in inspect.signature(find_class(scheduler["_target_"])).parameters


def checkpoint_step(path: Path | None) -> int | None:
    """Return the number of optimizer steps of a checkpoint, or ``None`` without one."""
    if path is None:
        return None
    return int(torch.load(path, map_location="cpu", mmap=True, weights_only=True)["global_step"])
