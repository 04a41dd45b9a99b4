"""Metrics of other packages, such as those of torchmetrics, that a task logs in addition to its own."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn
from torchmetrics import Metric

from bua.errors import InputError


class ExtraMetrics(nn.ModuleDict):
    """Metrics by their names; each is logged as ``val/NAME``.

    Args:
        metrics: Metrics by name, or ``None`` for none.
        taken: Names of the metrics that the task logs itself.

    Raises:
        InputError: If a metric is not a ``torchmetrics.Metric``, does not say whether a high value is good,
            or has the name of one of the task.
    """

    def __init__(self, metrics: Mapping[str, Any] | None, taken: Mapping[str, str]) -> None:
        for name, metric in (metrics or {}).items():
            key = f"objective.extra_metrics.{name}"
            if not isinstance(metric, Metric):
                raise InputError(f"{key}: must be a torchmetrics.Metric, got {type(metric).__name__}")
            if metric.higher_is_better is None:
                raise InputError(f"{key}: {type(metric).__name__}.higher_is_better must be true or false")
            if f"val/{name}" in taken:
                raise InputError(f"{key}: the task logs val/{name} itself; choose another name")
        super().__init__(dict(metrics or {}))  # as modules, so that they move to the device of the task

    @property
    def modes(self) -> dict[str, str]:
        """Names as they are logged, with "max" or "min" for whether a high or a low value is good."""
        return {f"val/{name}": "max" if m.higher_is_better else "min" for name, m in self.items()}

    def score(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        """Return the value of every metric by its name as it is logged; all processes must call it.

        Args:
            predictions: Predictions of this process.
            references: References of each prediction.

        Raises:
            InputError: If a metric computes something other than one number.
        """
        scores = {}
        for name, metric in cast(Mapping[str, Metric], self).items():
            metric.reset()
            metric.update(predictions, references)
            value = metric.compute()
            if not isinstance(value, float | int) and not (torch.is_tensor(value) and value.numel() == 1):
                raise InputError(f"objective.extra_metrics.{name}: computes {value}; must be a single number")
            scores[f"val/{name}"] = float(value)
        return scores
