"""Learning rates of the studies on synthetic scenes, compared on val with a seed that no study uses."""

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiments.study import bua, in_parallel, prepare

SEED = 100


def compare_rates(
    out: Path,
    folder: Path,
    rates: Mapping[str, Sequence[float]],
    overrides: Callable[[str], Sequence[str]],
    epochs: int,
    metric: str,
    processes: int,
) -> None:
    """Train every model with every learning rate on regions, and write the best results to ``rates.json``.

    Args:
        out: Working directory of images and runs.
        folder: Folder of the study, whose name is that of the study.
        rates: Learning rates by model.
        overrides: Returns the overrides of ``bua train`` for a model.
        epochs: Epochs of each training.
        metric: Metric on val; higher is better.
        processes: Number of training runs at a time.
    """
    prepare(out)
    name = f"{folder.name}-{epochs}-epochs"
    runs = {(m, r): out / "rates" / f"{name}-{m}-{r:g}" for m, tried in rates.items() for r in tried}
    common = [f"scenes={out}/scenes", f"features={out}/regions.h5", f"trainer.max_epochs={epochs}"]
    arguments = [(run, [*overrides(m), *common, f"optimizer.lr={r}"]) for (m, r), run in runs.items()]
    in_parallel(_train, arguments, processes)
    rows = [{"model": m, "rate": r, "val": round(_best(run, metric), 3)} for (m, r), run in runs.items()]
    command = f"python -m experiments.{folder.name}.rates OUT {processes}"
    results = {"command": command, "seed": SEED, "epochs": epochs, "metric": metric, "tried": rows}
    (folder / "rates.json").write_text(json.dumps(results, indent=1) + "\n")


def _train(run: Path, overrides: list[str]) -> None:
    """Train a model with a learning rate, unless the run is done."""
    if not (run / "done").exists():
        shutil.rmtree(run, ignore_errors=True)
        bua("train", *overrides, f"out={run}", "trainer.accelerator=cpu", f"seed={SEED}")
        (run / "done").touch()


def _best(run: Path, metric: str) -> float:
    """Return the best value of a metric in a run."""
    with open(run / "metrics.csv") as file:
        return max(float(row[metric]) for row in csv.DictReader(file) if row[metric])
