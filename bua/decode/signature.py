"""A search in a line, so that two that differ are never called the same."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

#: Options that are told whatever they are.
ALWAYS = ("beam_size", "num_samples", "max_length")


def search_signature(search: Any) -> str:
    """Return the kind of a search with all of its options that are not the usual ones."""
    return " ".join([type(search).__name__, *_options(search, "")])


def _options(options: Any, above: str) -> Iterator[str]:
    for field in fields(options):
        value, name = getattr(options, field.name), f"{above}{field.name}"
        if is_dataclass(value):
            yield from _options(value, f"{name}.")
        elif name in ALWAYS or value != _default(field):
            yield f"{name}={_shown(value)}"


def _default(field: "Field[Any]") -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _shown(value: Any) -> str:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return ",".join(map(str, value)) if listed else str(value)
