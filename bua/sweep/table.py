"""The table of a sweep: a row for every combination of options, with mean and deviation over seeds."""

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bua.errors import InputError
from bua.sweep.directory import Job, SweepDirectory
from bua.sweep.jobs import best_metric
from bua.tasks.metric_modes import metric_mode

#: Option that jobs of one row differ in.
SEED = "seed"


@dataclass(frozen=True)
class Value:
    """Mean and sample standard deviation of a number over seeds; the deviation of one seed is ``None``."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, numbers: Sequence[float]) -> "Value | None":
        """Return the value of some numbers, or ``None`` if there are none."""
        if not numbers:
            return None
        return cls(statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None)


@dataclass(frozen=True)
class Row:
    """Jobs that differ in their seed alone.

    Attributes:
        options: Overrides, by key.
        states: Number of jobs by state.
        values: Best value of the monitored metric, and other metrics in the same epoch, by name, over the
            jobs that are done.
        epoch: Epoch of the best value, counted from 1.
        seconds: Time of training.
    """

    options: Mapping[str, str]
    states: Mapping[str, int]
    values: Mapping[str, Value]
    epoch: Value | None
    seconds: Value | None


@dataclass(frozen=True)
class Table:
    """Rows of a sweep, the best first.

    Attributes:
        metric: Name of the monitored metric; "" if no job is done.
        keys: Keys of the options.
        names: Names of the metrics, the monitored one first.
        rows: Rows.
    """

    metric: str
    keys: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class _Result:
    """Numbers of a job that is done, at its best epoch."""

    metrics: Mapping[str, float]
    epoch: float
    seconds: float


def make_table(sweep: SweepDirectory, metrics: Sequence[str] = ()) -> Table:
    """Return the table of a sweep.

    Args:
        sweep: Directory of the sweep.
        metrics: Other metrics to show, in the epoch in which the monitored one is best.

    Raises:
        InputError: If no job has begun, jobs monitor different metrics, or no job has such a metric.
    """
    jobs = sweep.jobs()
    if not jobs:
        raise InputError(f"{sweep.path}: no job has begun")
    done = [job for job in jobs if job.state == "done"]
    monitored = {best_metric(job.metrics)[0] for job in done} - {""}
    if len(monitored) > 1:
        raise InputError(f"{sweep.path}: jobs monitor different metrics ({', '.join(sorted(monitored))})")
    metric = next(iter(monitored), "")
    results = {job.path: _read_result(job, metric) for job in done}
    known = sorted({name for result in results.values() for name in result.metrics})
    for name in metrics:
        if name not in known:
            raise InputError(
                f"metrics={name}: no finished job has it; there are {', '.join(known) or 'none'}"
            )
    names = tuple(dict.fromkeys([*([metric] if metric else []), *metrics]))
    keys = tuple(dict.fromkeys(key for job in jobs for key in job.overrides if key != SEED))
    groups: dict[tuple[tuple[str, str], ...], list[Job]] = {}
    for job in jobs:
        options = tuple((key, value) for key, value in job.overrides.items() if key != SEED)
        groups.setdefault(tuple(sorted(options)), []).append(job)
    rows = [_make_row(members, results, names) for members in groups.values()]
    return Table(metric, keys, names, tuple(sorted(rows, key=lambda row: _rank(row, metric))))


def _make_row(jobs: Sequence[Job], results: Mapping[Path, _Result], names: Sequence[str]) -> Row:
    found = [results[job.path] for job in jobs if job.path in results]
    values = {name: Value.of([r.metrics[name] for r in found if name in r.metrics]) for name in names}
    states: dict[str, int] = {}
    for job in jobs:
        states[job.state] = states.get(job.state, 0) + 1
    return Row(
        {key: value for key, value in jobs[0].overrides.items() if key != SEED},
        states,
        {name: value for name, value in values.items() if value is not None},
        Value.of([r.epoch for r in found if not math.isnan(r.epoch)]),
        Value.of([r.seconds for r in found]),
    )


def _rank(row: Row, metric: str) -> float:
    """Return a number by which rows are sorted: small for good ones, infinite for those without a value."""
    if metric not in row.values or math.isnan(row.values[metric].mean):
        return math.inf
    return row.values[metric].mean * (1 if metric_mode(metric) == "min" else -1)


def _read_result(job: Job, metric: str) -> _Result:
    """Return the metrics of a run in its best epoch; those of its end if it was never validated."""
    last = {name: value for name, value in job.metrics.items() if not name.startswith("best/")}
    try:
        with open(job.path / "metrics.csv", newline="", encoding="utf-8") as file:
            rows = [{k: float(v) for k, v in row.items() if k and v} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError):
        rows = []
    seconds = sum(row.get("seconds", 0.0) for row in rows)
    best = job.metrics.get(f"best/{metric}")
    at_best = next((row for row in rows if best is not None and row.get(metric) == best), None)
    if at_best is None:
        return _Result(last | ({metric: best} if best is not None else {}), math.nan, seconds)
    metrics = {name: value for name, value in at_best.items() if name not in ("epoch", "step", "seconds")}
    return _Result(metrics, at_best["epoch"] + 1, seconds)
