"""Resolvers that the configuration of a sweep uses; importing this module registers them."""

from collections.abc import Sequence

from omegaconf import OmegaConf

from bua.sweep.naming import job_folder
from bua.tasks.metric_modes import metric_mode


def _folder(overrides: Sequence[str], number: int, fixed: Sequence[str]) -> str:
    return job_folder(list(overrides), number, set(fixed))


def direction(metric: str) -> str:
    """Return in which direction a search improves a metric, in the words of Optuna."""
    return {"min": "minimize", "max": "maximize"}[metric_mode(metric)]


OmegaConf.register_new_resolver("job_folder", _folder, replace=True)
OmegaConf.register_new_resolver("direction", direction, replace=True)
