"""Whether a high or a low value of a metric is good."""

#: Last parts of the names of metrics that are good when low.
LOW = frozenset({"loss", "bad_endings", "unfinished"})


def metric_mode(name: str) -> str:
    """Return "min" for a metric that is good when low, such as "val/loss", and "max" for any other."""
    return "min" if name.rpartition("/")[2] in LOW else "max"
