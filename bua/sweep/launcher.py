"""What Hydra's launcher ``processes`` does: every job of a sweep is a process with devices of its own.

A job that crashes, or that the system kills, costs one job. As every job is an ordinary ``bua train``, it may
train on several devices itself. All jobs end with the process that launched them.
"""

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hydra.core.utils import JobReturn, JobStatus

from bua.errors import InputError
from bua.io.processes import PARENT_PIPE
from bua.sweep.jobs import best_value, describe, has_begun, is_done
from bua.sweep.naming import job_folder, override_key

log = logging.getLogger(__name__)


@dataclass
class _Work:
    """A job to do: its overrides and its folder."""

    overrides: Sequence[str]
    folder: Path


class JobProcesses:
    """Processes that train the jobs of a sweep.

    Args:
        config: Configuration of the sweep.
        n_jobs: Number of jobs at a time.
        gpus_per_job: Number of GPUs of each job, where there are GPUs.

    Raises:
        InputError: If a number is less than 1.
    """

    def __init__(self, config: Any, n_jobs: int = 1, gpus_per_job: int = 1) -> None:
        for name, value in (("n_jobs", n_jobs), ("gpus_per_job", gpus_per_job)):
            if type(value) is not int or value < 1:
                raise InputError(f"hydra.launcher.{name}={value}: must be an integer of at least 1")
        self.n_jobs, self.gpus_per_job = n_jobs, gpus_per_job
        self._config = config
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs and return their results in order.

        Args:
            job_overrides: Overrides of each job.
            initial_job_idx: Position of the first job in the sweep.

        Raises:
            InputError: If there are not enough GPUs for so many jobs at a time; if a configuration makes a
                package trusted; or if jobs failed, after all others are done.
        """
        if any(override_key(word) == "trust" for words in job_overrides for word in words):
            raise InputError("trust: does not count as a parameter of a sweep; give it on the command line")
        hydra = self._config.hydra
        sweep, fixed = Path(str(hydra.sweep.dir)), set(hydra.job.config.override_dirname.exclude_keys)
        names = [job_folder(words, initial_job_idx + n, fixed) for n, words in enumerate(job_overrides)]
        work = [_Work(words, sweep / name) for words, name in zip(job_overrides, names, strict=True)]
        (sweep / "logs").mkdir(parents=True, exist_ok=True)
        slots: queue.Queue[str | None] = queue.Queue()
        for gpus in gpu_groups(visible_gpus(self._config.trainer), self.gpus_per_job, self.n_jobs):
            slots.put(gpus)
        read, write = os.pipe()  # closed by the system when this process ends, which ends the jobs
        pool = ThreadPoolExecutor(self.n_jobs)
        try:
            futures = [pool.submit(self._run, job, slots, read) for job in work]
            results = [future.result() for future in futures]
        except BaseException:
            self._stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            os.close(read)
            os.close(write)
        if hydra.sweeper.get("max_failure_rate") is None:  # the sweeper does not go on after a failure
            raise_first_failure(results)
        return results

    def _stop(self) -> None:
        """Interrupt all jobs, and start no other."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.send_signal(signal.SIGINT)

    def _run(self, job: _Work, slots: "queue.Queue[str | None]", parent: int) -> JobReturn:
        """Run one job, unless it is finished already, and return its result."""
        result = JobReturn(overrides=job.overrides, working_dir=str(job.folder), task_name="train")
        if self._config.resume and is_done(job.folder):
            result.status, result.return_value = JobStatus.COMPLETED, best_value(job.folder)
            return result
        gpus, started = slots.get(), time.monotonic()
        try:
            log.info(f"{job.folder.name}: started")
            file = job.folder.parent / "logs" / f"{job.folder.name}.log"
            with open(file, "ab") as output:
                start = output.tell()
                code = self._wait(self._command(job), output, gpus, parent)
            error = None if code == 0 else describe_failure(code, file, start)
        except OSError as reason:
            error = f"{reason.filename}: {reason.strerror}"
        finally:
            slots.put(gpus)
        if error is None:
            log.info(f"{describe(job.folder)} in {time.monotonic() - started:.0f} s")
            result.status, result.return_value = JobStatus.COMPLETED, best_value(job.folder)
        else:
            log.warning(f"{job.folder.name}: failed: {error}")
            result.status = JobStatus.FAILED
            result.return_value = InputError(f"{job.folder}: {error}")
        return result

    def _command(self, job: _Work) -> list[str]:
        words = [word for word in job.overrides if override_key(word) not in ("out", "resume")]
        resume = self._config.resume and has_begun(job.folder)
        words += [f"out={job.folder}", f"resume={str(resume).lower()}"]
        return [sys.executable, "-m", "bua", "train", *words]

    def _wait(self, command: list[str], output: IO[bytes], gpus: str | None, parent: int) -> int:
        environment = {**os.environ, PARENT_PIPE: str(parent)}
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.n_jobs)))
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpus
        with self._lock:
            if self._stopped:
                return -signal.SIGINT
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(parent,),
            )
            self._processes.add(process)
        code = process.wait()
        with self._lock:
            self._processes.discard(process)
        return code


def raise_first_failure(results: Sequence[JobReturn]) -> None:
    """Raise ``InputError`` if jobs failed; the message counts them."""
    failed = [result for result in results if result.status is JobStatus.FAILED]
    if failed:
        others = f" ({len(failed)} of {len(results)} jobs failed)" if len(results) > 1 else ""
        raise InputError(f"{failed[0]._return_value}{others}")


def visible_gpus(trainer: Any) -> list[str]:
    """Return the GPUs that jobs may use; none if they train on another device."""
    if trainer.accelerator not in ("auto", "gpu", "cuda"):
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(n) for n in range(torch.cuda.device_count())]


def gpu_groups(gpus: Sequence[str], per_job: int, n_jobs: int) -> list[str | None]:
    """Return the values of ``CUDA_VISIBLE_DEVICES`` of jobs that run at a time.

    Args:
        gpus: GPUs that may be used.
        per_job: Number of GPUs of each job.
        n_jobs: Number of jobs at a time.

    Returns:
        A value for each job; ``None`` for all if there are no GPUs.

    Raises:
        InputError: If there are GPUs, but too few.
    """
    if not gpus:
        return [None] * n_jobs
    groups = [",".join(gpus[n : n + per_job]) for n in range(0, len(gpus) - per_job + 1, per_job)]
    if len(groups) < n_jobs:
        raise InputError(
            f"hydra.launcher.n_jobs={n_jobs}: {len(gpus)} GPUs are enough for {len(groups)} jobs of "
            f"hydra.launcher.gpus_per_job={per_job} at a time"
        )
    return list(groups[:n_jobs])


def describe_failure(code: int, log_file: Path, start: int) -> str:
    """Return why a job failed, in one line.

    Args:
        code: Exit code of its process; negative if a signal ended it.
        log_file: What it printed.
        start: Position in the file where its output begins.
    """
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", probably because memory ran out" if -code == signal.SIGKILL else ""
        return f"was ended by {name}{hint}"
    lines = log_file.read_bytes()[start:].decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")
    return f"{last.removeprefix('bua train: ')} ({log_file})"
