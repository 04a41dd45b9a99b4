"""Hydra's launcher ``processes``, here because Hydra takes launchers from this namespace package alone."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction


class ProcessLauncher(Launcher):
    """Start each job of a sweep as a process of its own.

    Args:
        n_jobs: Number of jobs at a time.
        gpus_per_job: Number of GPUs of each job, where there are GPUs. It is that of ``trainer.devices``.
    """

    def __init__(self, n_jobs: int = 1, gpus_per_job: int = 1) -> None:
        self._options = {"n_jobs": n_jobs, "gpus_per_job": gpus_per_job}
        self._config: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: Any) -> None:
        """Keep the configuration of the sweep; the jobs compose theirs themselves."""
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs and return their results in order; see ``bua.sweep.launcher``."""
        from bua.sweep.launcher import JobProcesses  # here, as Hydra imports every plugin at every start

        return JobProcesses(self._config, **self._options).launch(job_overrides, initial_job_idx)
