"""Metrics of torchmetrics' interface are logged with those of a captioning task."""

import pytest
import torch
from torchmetrics import MeanMetric, Metric
from torchmetrics.text import BLEUScore, WordErrorRate

from bua.errors import InputError
from bua.tasks.extra_metrics import ExtraMetrics

CAPTIONS = ["a dog on a beach", "two cats"]
REFERENCES = [["a dog runs on a beach", "a dog on sand"], ["two cats sleep"]]


class Pair(Metric):
    """Computes two numbers."""

    higher_is_better = True

    def update(self, captions: list[str], references: list[list[str]]) -> None:
        pass

    def compute(self) -> torch.Tensor:
        return torch.zeros(2)


def test_each_validation_has_the_value_of_the_metric_itself() -> None:
    metrics = ExtraMetrics({"bleu2": BLEUScore(n_gram=2)}, {})
    for _ in range(2):  # nothing is left of an earlier validation
        expected = BLEUScore(n_gram=2)(CAPTIONS, REFERENCES).item()
        assert metrics.score(CAPTIONS, REFERENCES) == {"val/bleu2": expected}
        metrics.score(["other"], [["words"]])


def test_a_metric_says_which_value_is_best() -> None:
    metrics = ExtraMetrics({"bleu": BLEUScore(), "errors": WordErrorRate()}, {})
    assert metrics.modes == {"val/bleu": "max", "val/errors": "min"}


@pytest.mark.parametrize(
    ("name", "metric", "message"),
    [
        ("x", object(), "extra_metrics.x: must be a torchmetrics.Metric, got object"),
        ("x", MeanMetric(), "MeanMetric.higher_is_better must be true or false"),
        ("CIDEr", BLEUScore(), "the task logs val/CIDEr itself"),
    ],
)
def test_a_metric_that_cannot_be_logged_is_refused(name: str, metric: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExtraMetrics({name: metric}, {"val/CIDEr": "max"})


def test_a_metric_of_several_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="extra_metrics.pair: computes .* must be a single number"):
        ExtraMetrics({"pair": Pair()}, {}).score(CAPTIONS, REFERENCES)
