"""Resolvers that the configuration of a sweep uses; importing this module registers them."""

from collections.abc import Sequence

from omegaconf import OmegaConf

from bua.sweep.naming import job_folder
from bua.tasks.metric_modes import metric_mode


def _folder(overrides: Sequence[str], number: int, fixed: Sequence[str]) -> str:
    return job_folder(list(overrides), number, set(fixed))


def direction(metric: str, mode: str | None = None) -> str:
    """Return in which direction a search improves a metric, in the words of Optuna.

    Args:
        metric: Name of the metric.
        mode: "max" or "min". Default: what is good for the metric.
    """
    return "minimize" if (mode or metric_mode(metric)) == "min" else "maximize"


OmegaConf.register_new_resolver("job_folder", _folder, replace=True)
OmegaConf.register_new_resolver("direction", direction, replace=True)
