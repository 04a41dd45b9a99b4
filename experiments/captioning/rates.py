"""Compare learning rates for the captioning study: python -m experiments.captioning.rates OUT [JOBS]."""

import sys
from pathlib import Path

from experiments.captioning.run import PRECISION
from experiments.rates import compare_rates

RATES = {
    "updown": [1e-3, 2e-3, 4e-3],
    "updown_caffe": [1e-3, 2e-3, 4e-3],
    "att2in": [1e-3, 2e-3, 4e-3],
    "soft_attention": [1e-3, 2e-3, 4e-3],
    "transformer": [5e-4, 1e-3, 2e-3],
    "mean_pooled": [1e-3, 2e-3, 4e-3],
}


def overrides(model: str) -> list[str]:
    """Return the overrides of ``bua train`` for a captioner."""
    return ["experiment=caption_scenes", f"model={model}_small", PRECISION]


if __name__ == "__main__":
    jobs = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    compare_rates(Path(sys.argv[1]).resolve(), Path(__file__).parent, RATES, overrides, 8, "val/CIDEr", jobs)
