"""Run directories: the configuration, provenance, state and checkpoints of a training run."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import yaml

from bua import __version__
from bua.errors import InputError
from bua.io.files import file_sha256, read_json
from bua.io.schema import find_mismatch, validate
from bua.io.write import acquire_lock, release_lock, write_text
from bua.store.reader import FeatureStore

#: What the owner of a run does, for messages.
TRAINED = "trained"
#: Files that a run writes only after its start.
LATER_FILES = (
    "metrics.csv",
    "vocabulary.json",
    "answers.json",
    "document_frequencies.npz",
    "rewards.txt",
    "loggers.json",
)


class _Config(TypedDict):
    data: dict[str, Any]
    model: dict[str, Any]
    objective: dict[str, Any]
    trainer: dict[str, Any]
    seed: int


class _Status(TypedDict):
    state: str
    metrics: NotRequired[dict[str, float]]


class RunDirectory:
    """The directory of one run.

    It holds ``config.yaml``, ``overrides.yaml``, ``status.json``, ``provenance.json``, ``metrics.csv``,
    ``vocabulary.json`` and ``checkpoints/``. If several processes train one model, only the first writes.

    Args:
        path: Path of the directory.
    """

    def __init__(self, path: Path | str) -> None:
        self.path, self.is_writer = Path(path), process_rank() == 0
        self.checkpoints = self.path / "checkpoints"

    def check_new(self) -> None:
        """Raise ``InputError`` if the directory contains a run that has a checkpoint, or that is training."""
        if not self.is_writer or not (self.path / "status.json").exists():
            return
        self.check_idle()
        if self.checkpoint_files():
            raise InputError(
                f"{self.path}: already holds a run ({self.state()}); give resume=true to continue it, or "
                "choose another out="
            )

    def check_idle(self) -> None:
        """Raise ``InputError`` if a process is training into the directory."""
        if self.is_writer and self._lock_path.exists():
            release_lock(acquire_lock(self._lock_path, self.path, TRAINED))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that trains into the directory; the system releases the lock of a dead one.

        Raises:
            InputError: If another process is training into the directory.
        """
        if not self.is_writer:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        lock = acquire_lock(self._lock_path, self.path, TRAINED)
        try:
            yield
        finally:
            release_lock(lock)

    def state(self) -> str:
        """Return the state in the status, or "killed" if it is "running" but no process is."""
        state = str(self._status().get("state", "unknown"))
        if state != "running":
            return state
        try:
            self.check_idle()
        except InputError:
            return state
        return "killed"

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

    def resume(self, config: Any) -> None:
        """Record that the run goes on, and the options that it goes on with."""
        if self.is_writer:
            write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
            self.set_status("running", metrics=self.metrics())

    def git_state(self) -> dict[str, Any] | None:
        """Return the commit of bua with which the run was started, and whether it was clean, if known."""
        if not self.is_writer:
            return None
        content = read_json(self.path / "provenance.json")
        return content.get("git") if isinstance(content, dict) else None

    def config(self) -> dict[str, Any]:
        """Return the configuration that the run was started with.

        Raises:
            InputError: If it does not exist or cannot be read.
        """
        path = self.path / "config.yaml"
        try:
            config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            raise InputError(f"{path}: not the configuration of a run") from None
        validate(config, _Config, path, "not the configuration of a run")
        return config

    def set_status(self, state: str, **details: Any) -> None:
        """Record the state of the run: "running", "done", "interrupted" or "failed"."""
        if self.is_writer:
            content = {"state": state, "pid": os.getpid(), **details}
            write_text(self.path / "status.json", json.dumps(content))

    def metrics(self) -> dict[str, float]:
        """Return the metrics recorded in the status."""
        return dict(self._status().get("metrics", {}))

    def _status(self) -> dict[str, Any]:
        """Return the content of the status; empty if there is none, or it is damaged."""
        try:
            status = read_json(self.path / "status.json")
        except InputError:
            return {}
        return status if find_mismatch(status, _Status) is None else {}

    def best_checkpoint(self) -> Path:
        """Return the path of the best checkpoint, which exists after the first validation."""
        return self.checkpoints / "best.ckpt"

    def checkpoint_files(self) -> list[Path]:
        """Return the checkpoints of the run, the newest first."""
        paths = [self.checkpoints / f"{name}.ckpt" for name in ("last", "step", "best")]
        existing = [path for path in paths if path.exists()]
        return sorted(existing, key=lambda path: path.stat().st_mtime_ns, reverse=True)

    @property
    def _lock_path(self) -> Path:
        return self.path / "train.lock"


def process_rank() -> int:
    """Return 0 in the first process that Lightning or SLURM started, and a positive number in the others."""
    if "SLURM_NTASKS" in os.environ and "SLURM_PROCID" in os.environ:
        return int(os.environ["SLURM_PROCID"])
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    return int(os.environ.get("LOCAL_RANK", 0)) + 1000 * int(os.environ.get("NODE_RANK", 0))


def provenance(sources: Mapping[str, str], seed: int, packages: Iterable[str] = ()) -> dict[str, Any]:
    """Return the provenance of a result.

    Args:
        sources: Files that were read, by role.
        seed: Seed of the random numbers.
        packages: Packages whose classes were used, besides bua and those that it is built on. Default: none.

    Returns:
        Plain values: git commit, versions of packages, hardware, seed, and hashes of the files.
    """
    import torch  # imported here, as scoring needs the hashes but not torch

    distributions = metadata.packages_distributions() if packages else {}
    used = sorted({name for package in packages for name in distributions.get(package, ())})
    names = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "h5py", "nltk", *used)
    return {
        "bua": __version__,
        "git": _git(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in names},
        "machine": {
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
        },
        "seed": seed,
        "sources": {
            role: {"file": str(Path(path).absolute()), **_hashes(Path(path))}
            for role, path in sources.items()
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _hashes(path: Path) -> dict[str, Any]:
    """Return the hash of a file, or the stored column hashes of a feature store."""
    if path.suffix == ".h5":
        return {"columns": dict(FeatureStore(path).metadata.sha256)}
    return {"sha256": file_sha256(path)}


def _git() -> dict[str, Any] | None:
    """Return the commit of the checkout that bua runs from, if it is one, and whether it is clean."""
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "clean": not changed}
