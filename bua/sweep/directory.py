"""The directory of a sweep: its command, its jobs and their states."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import yaml

from bua.engine.run_directory import RunDirectory
from bua.errors import InputError
from bua.io.files import read_json
from bua.io.schema import find_mismatch, validate
from bua.io.write import acquire_lock, release_lock, write_text
from bua.sweep.naming import override_key

#: File that makes a directory that of a sweep.
RECORD = "sweep.json"
#: Overrides that do not belong to what a sweep does: where, and how its jobs are started.
_ELSEWHERE = re.compile(r"(out|resume|hydra/launcher|hydra\.launcher(\.\w+)*)=")


class _Record(TypedDict):
    words: list[str]
    fixed: list[str]
    jobs: NotRequired[int | None]
    folder: str


@dataclass(frozen=True)
class Job:
    """A job that has begun.

    Attributes:
        path: Run directory.
        overrides: Values of the overrides in which the jobs of the sweep differ, by key.
        state: State of the run: "done", "running", "killed", "interrupted" or "failed".
        metrics: Metrics by name.
        error: Why it failed, or an empty string.
    """

    path: Path
    overrides: dict[str, str]
    state: str
    metrics: dict[str, float]
    error: str


class SweepDirectory:
    """The directory of one sweep, which holds ``sweep.json`` and a run directory for every job.

    Args:
        path: Path of the directory.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def begin(self, words: Sequence[str], fixed: Sequence[str], jobs: int | None, *, resume: bool) -> None:
        """Record a new sweep, or check that an interrupted one is the same.

        Args:
            words: Words of the command line after ``bua train``.
            fixed: Keys that have the same value in all jobs.
            jobs: Number of jobs; ``None`` if a sweeper decides it as it goes on.
            resume: Whether the sweep goes on.

        Raises:
            InputError: If the directory holds another sweep or a run, or nothing that can go on.
        """
        words = [word for word in words if word != "--multirun"]
        exists = (self.path / RECORD).exists()
        if exists and _identity(self.record()["words"]) != _identity(words):
            former = " ".join(self.record()["words"])
            raise InputError(f"{self.path}: holds another sweep (bua train -m {former}); choose another out=")
        if exists and not resume:
            raise InputError(
                f"{self.path}: holds this sweep already; bua sweep resume {self.path} continues it"
            )
        if resume and not exists:
            raise InputError(f"{self.path}: holds no sweep to resume; leave out resume=true")
        if (self.path / "status.json").exists():
            raise InputError(f"{self.path}: holds a run, not a sweep; choose another out=")
        if not exists:
            self.path.mkdir(parents=True, exist_ok=True)
            content = {"words": words, "fixed": sorted(fixed), "jobs": jobs, "folder": os.getcwd()}
            write_text(self.path / RECORD, json.dumps(content, indent=1))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that runs the sweep; the system releases the lock of a dead one.

        Raises:
            InputError: If another process is running it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = acquire_lock(self.path / "sweep.lock", self.path, "swept")
        try:
            yield
        finally:
            release_lock(lock)

    def is_running(self) -> bool:
        """Return whether a process is running the sweep."""
        if not (self.path / "sweep.lock").exists():
            return False
        try:
            release_lock(acquire_lock(self.path / "sweep.lock", self.path, "swept"))
        except InputError:
            return True
        return False

    def record(self) -> _Record:
        """Return what the sweep does.

        Raises:
            InputError: If the directory holds no sweep.
        """
        path = self.path / RECORD
        if not path.exists():
            hint = " (it holds a run)" if (self.path / "status.json").exists() else ""
            raise InputError(f"{self.path}: holds no sweep{hint}; bua train -m out=DIR writes one")
        record: _Record = read_json(path)
        validate(record, _Record, path, "not the record of a sweep")
        return record

    def describe(self) -> str:
        """Return how many jobs are in which state, such as "3 of 8 jobs done, 1 failed, 4 not begun"."""
        total, jobs = self.record().get("jobs"), self.jobs()
        states = Counter(job.state for job in jobs)
        parts = [f"{states.pop('done', 0)}{'' if total is None else f' of {total}'} jobs done"]
        parts += [f"{count} {state}" for state, count in sorted(states.items())]
        if total is not None and total > len(jobs):
            parts.append(f"{total - len(jobs)} not begun")
        return ", ".join(parts)

    def jobs(self) -> list[Job]:
        """Return the jobs that have begun, by the names of their folders."""
        fixed = {*self.record()["fixed"], "out", "resume"}
        paths = sorted(path.parent for path in self.path.glob("*/status.json"))
        return [_read_job(path, fixed) for path in paths]


def _identity(words: Sequence[str]) -> list[str]:
    """Return the words that determine the jobs of a sweep."""
    return [word for word in words if not _ELSEWHERE.match(word.lstrip("+"))]


class _Status(TypedDict):
    metrics: NotRequired[dict[str, float]]
    error: NotRequired[str]


def _read_job(path: Path, fixed: set[str]) -> Job:
    run = RunDirectory(path)
    try:
        status: Any = read_json(path / "status.json")
    except InputError:
        status = {}
    if find_mismatch(status, _Status) is not None:
        status = {}
    return Job(
        path, _read_overrides(path, fixed), run.state(), status.get("metrics", {}), status.get("error", "")
    )


def _read_overrides(path: Path, fixed: set[str]) -> dict[str, str]:
    """Return the overrides of a run by key, without those that all jobs have."""
    try:
        text = (path / "overrides.yaml").read_text(encoding="utf-8")
        words = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    if find_mismatch(words, list[str]) is not None:
        return {}
    pairs = [(override_key(word), word.partition("=")[2]) for word in words]
    return {key: value.strip("'") for key, value in pairs if key not in fixed}
