"""Scores of the jobs of a study, and the file of results that its tables are made from."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bua.engine.run_directory import RunDirectory
from bua.sweep.directory import SweepDirectory
from experiments.readme import Results

#: Numbers of a trained model by name, as plain values.
Row = dict[str, Any]

#: Splits on which models are scored.
TEST_SPLITS = ("test", "novel")


def score_sweeps(
    study: Path,
    sweeps: Iterable[str],
    labels: Callable[[str, dict[str, str]], Row],
    score: Callable[[Path], Row],
) -> Results:
    """Score all jobs that are done and not scored yet, and return the results of all.

    Args:
        study: Folder of the study.
        sweeps: Names of its sweeps; those that do not exist are passed over.
        labels: Returns what a job is, given the name of its sweep and the overrides of the job.
        score: Scores a run.
    """
    runs, commits = [], set()
    for name in sweeps:
        sweep = SweepDirectory(study / name)
        for job in sweep.jobs() if (study / name / "sweep.json").exists() else []:
            if job.state != "done":
                continue
            scores = job.path / "scores.json"
            if not scores.exists():
                scores.write_text(json.dumps(score(job.path)))
            minutes = {"minutes": training_seconds(job.path) / 60}
            runs.append(labels(name, job.overrides) | minutes | json.loads(scores.read_text()))
            provenance = json.loads((job.path / "provenance.json").read_text())
            commits.add((provenance.get("git") or {}).get("commit"))
    seeds = len({run["seed"] for run in runs})
    images = json.loads((study / "images.json").read_text())
    commit = sorted(filter(None, commits))
    return {"images": images, "seeds": seeds, "commits": commit, "runs": runs}


def training_seconds(run: Path) -> float:
    """Return how long a run has trained."""
    with open(run / "metrics.csv", newline="") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def tried_rates(study: Path, metric: str, model: Callable[[dict[str, str]], str]) -> Results:
    """Return the best values of the learning rates of the sweep ``rates``.

    Args:
        study: Folder of the study.
        metric: Monitored metric.
        model: Returns the name of the model, given the overrides of a job.
    """
    tried, configs = [], []
    for job in SweepDirectory(study / "rates").jobs():
        if job.state == "done":
            rate, value = float(job.overrides["optimizer.lr"]), round(job.metrics[f"best/{metric}"], 3)
            tried.append({"model": model(job.overrides), "rate": rate, "val": value})
            configs.append(RunDirectory(job.path).config())
    if not tried:
        raise SystemExit(f"{study}/rates: no job is done")
    epochs, seed = configs[0]["trainer"]["max_epochs"], configs[0]["seed"]
    return {"seed": seed, "epochs": epochs, "metric": metric, "tried": tried}


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write a file of results."""
    path.write_text(json.dumps(results, indent=1) + "\n")
