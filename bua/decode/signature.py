"""A search as one line of text, different for searches that differ."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

#: Options that are listed even with their default values.
ALWAYS_LISTED = ("beam_size", "num_samples", "max_length")


def search_signature(search: Any) -> str:
    """Return the class of a search and all options that differ from their defaults."""
    return " ".join([type(search).__name__, *_options(search, "")])


def _options(options: Any, prefix: str) -> Iterator[str]:
    for field in fields(options):
        value, name = getattr(options, field.name), f"{prefix}{field.name}"
        if is_dataclass(value):
            yield from _options(value, f"{name}.")
        elif name in ALWAYS_LISTED or value != _default(field):
            yield f"{name}={_format(value)}"


def _default(field: "Field[Any]") -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _format(value: Any) -> str:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return ",".join(map(str, value)) if is_list else str(value)
