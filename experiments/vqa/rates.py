"""Compare learning rates for the VQA study: python -m experiments.vqa.rates OUT [JOBS].

The question-only model and the one with the counting module use the rate of ``experiment=vqa_scenes``.
"""

import sys
from pathlib import Path

from experiments.rates import compare_rates
from experiments.vqa.run import MODELS

RATES = {
    "updown_hu": [3e-3, 6e-3, 1.2e-2],
    "updown_teney": [2e-3, 5e-3, 1e-2],
    "ban": [1e-3, 2e-3, 4e-3, 8e-3],
    "mcan": [1e-3, 2e-3, 3e-3],
    "mean_pooled": [3e-3, 6e-3, 1.2e-2],
}


def overrides(model: str) -> list[str]:
    """Return the overrides of ``bua train`` for a VQA model."""
    return ["experiment=vqa_scenes", *MODELS[model]]


if __name__ == "__main__":
    jobs = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    compare_rates(
        Path(sys.argv[1]).resolve(), Path(__file__).parent, RATES, overrides, 12, "val/accuracy", jobs
    )
