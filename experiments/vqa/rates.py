"""Learning rates of the VQA study, tried on val: python -m experiments.vqa.rates OUT [JOBS].

With a seed that the study does not use, on regions; rates.json is written here. The models that are not here
have the rate of ``experiment=vqa_scenes``.
"""

import csv
import json
import sys
from pathlib import Path

from experiments.study import bua, in_parallel, prepare
from experiments.vqa.run import MODELS

SEED, EPOCHS = 100, 12
#: By model, the rates that are tried.
TRIED = {"updown_teney": [5e-3, 1e-2], "ban": [2e-3, 4e-3, 8e-3], "mcan": [1e-3, 2e-3, 3e-3]}


def run_of(out: Path, model: str, rate: float) -> Path:
    """Return the run directory of a training."""
    return out / "rates" / f"{model}-{rate:g}"


def job(out: Path, model: str, rate: float) -> None:
    """Train one model at one rate, unless that was done."""
    run = run_of(out, model, rate)
    if not (run / "metrics.csv").exists():
        command = [f"scenes={out}/scenes", f"features={out}/regions.h5", "trainer.accelerator=cpu"]
        command += [f"seed={SEED}", f"trainer.max_epochs={EPOCHS}", *MODELS[model], f"optimizer.lr={rate}"]
        bua("train", "experiment=vqa_scenes", f"out={run}", *command)


def best(run: Path) -> float:
    """Return the best accuracy on val."""
    with open(run / "metrics.csv") as file:
        return max(float(row["val/accuracy"]) for row in csv.DictReader(file) if row["val/accuracy"])


def main(out: Path, jobs: int) -> None:
    """Try every rate."""
    prepare(out)
    every = [(out, model, rate) for model, rates in TRIED.items() for rate in rates]
    in_parallel(job, every, jobs)
    tried = [{"model": m, "rate": r, "val": round(best(run_of(out, m, r)), 2)} for _, m, r in every]
    command = f"python -m experiments.vqa.rates OUT {jobs}"
    results = {"command": command, "seed": SEED, "epochs": EPOCHS, "tried": tried}
    (Path(__file__).parent / "rates.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
