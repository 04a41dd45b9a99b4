"""The jobs of a sweep, each of which is an ordinary run: which are done, and with what result."""

from collections.abc import Mapping
from pathlib import Path

from bua.engine.run_directory import RunDirectory


def has_begun(folder: Path) -> bool:
    """Return whether a job has begun."""
    return (folder / "status.json").exists()


def is_done(folder: Path) -> bool:
    """Return whether a job has trained to its end."""
    return has_begun(folder) and RunDirectory(folder).state() == "done"


def best_metric(metrics: Mapping[str, float]) -> tuple[str, float | None]:
    """Return the name and the best value of the metric that a run monitors; "" and None if it has none."""
    found = [
        (name.removeprefix("best/"), value) for name, value in metrics.items() if name.startswith("best/")
    ]
    return found[0] if found else ("", None)


def best_value(folder: Path) -> float | None:
    """Return the best value of the metric that a job monitors, or ``None`` if it was never computed."""
    return best_metric(RunDirectory(folder).metrics())[1]


def describe(folder: Path) -> str:
    """Return that a job is done, with its result."""
    name, value = best_metric(RunDirectory(folder).metrics())
    return f"{folder.name}: done" + (f", best {name} {value:.4g}" if name else "")
