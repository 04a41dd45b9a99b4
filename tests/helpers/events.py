"""Read what TensorBoard was sent."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_events(run: Path) -> EventAccumulator:
    """Return the events of a run, all of them."""
    events = EventAccumulator(
        str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "tensors": 0}
    )
    events.Reload()
    return events


def scalars(run: Path, name: str) -> dict[int, float]:
    """Return the values of a scalar by step."""
    return {event.step: event.value for event in read_events(run).Scalars(name)}


def tags(run: Path) -> dict[str, Any]:
    """Return the names of what was sent, by kind."""
    return dict(read_events(run).Tags())
