"""Learning rates of the studies on synthetic scenes, tried on val with a seed that no study uses."""

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiments.study import bua, in_parallel, prepare

SEED = 100


def try_rates(
    out: Path,
    folder: Path,
    tried: Mapping[str, Sequence[float]],
    training: Callable[[str], Sequence[str]],
    epochs: int,
    metric: str,
    jobs: int,
) -> None:
    """Train every model at every rate on regions, and write the best of each run to ``rates.json``.

    Args:
        out: where the pictures and runs are.
        folder: of the study; its name is that of the study.
        tried: rates by model.
        training: says how a model is trained.
        epochs: of each training.
        metric: on val, higher is better.
        jobs: trainings at a time.
    """
    prepare(out)
    name = f"{folder.name}-{epochs}-epochs"
    of = {(m, r): out / "rates" / f"{name}-{m}-{r:g}" for m, rates in tried.items() for r in rates}
    common = [f"scenes={out}/scenes", f"features={out}/regions.h5", f"trainer.max_epochs={epochs}"]
    every = [(run, [*training(m), *common, f"optimizer.lr={r}"]) for (m, r), run in of.items()]
    in_parallel(_train, every, jobs)
    found = [{"model": m, "rate": r, "val": round(_best(run, metric), 3)} for (m, r), run in of.items()]
    done = f"python -m experiments.{folder.name}.rates OUT {jobs}"
    results = {"command": done, "seed": SEED, "epochs": epochs, "metric": metric, "tried": found}
    (folder / "rates.json").write_text(json.dumps(results, indent=1) + "\n")


def _train(run: Path, command: list[str]) -> None:
    """Train one model at one rate, unless that was done."""
    if not (run / "done").exists():
        shutil.rmtree(run, ignore_errors=True)
        bua("train", *command, f"out={run}", "trainer.accelerator=cpu", f"seed={SEED}")
        (run / "done").touch()


def _best(run: Path, metric: str) -> float:
    """Return the best that was seen on val."""
    with open(run / "metrics.csv") as file:
        return max(float(row[metric]) for row in csv.DictReader(file) if row[metric])
