"""What the keys of a command are: the dataclass ``Options`` of its module says it once.

The YAML file of a command holds the default values and describes the keys; ``Options`` holds their types,
and the smallest value of a number. ``read_options`` checks a composed configuration against them, and
``text_keys`` says which values are texts, which need no quotes on the command line.
"""

import dataclasses
import types
import typing
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from bua.errors import InputError

T = TypeVar("T")

#: Metadata of a field that must be at least 1, or at least 0.
POSITIVE = {"least": 1}
NOT_NEGATIVE = {"least": 0}


def read_options(config: DictConfig, schema: type[T]) -> T:
    """Return the values of a configuration as the dataclass of a command.

    Args:
        config: Composed configuration. Keys that the dataclass lacks are ignored, fields that the
            configuration lacks are ``None``.
        schema: Dataclass whose field types are ``str``, ``int``, ``float``, ``bool``, any of them or
            ``None``, a list of texts, or ``Any``. A field of type ``DictConfig`` gets the configuration
            itself.

    Raises:
        InputError: If a mandatory key is not given, or a value has the wrong type or is too small.
    """
    missing = [str(key) for key in config if OmegaConf.is_missing(config, key)]
    if missing:
        given = " ".join(f"{key}=..." for key in missing)
        raise InputError(f"{', '.join(missing)} must be given: {given}")
    hints = typing.get_type_hints(schema)
    values = {}
    for field in dataclasses.fields(schema):  # type: ignore[arg-type]
        if hints[field.name] is DictConfig:
            values[field.name] = config
            continue
        value = config.get(field.name)
        values[field.name] = _checked(field.name, value, hints[field.name], field.metadata.get("least"))
    return schema(**values)


def text_keys(schema: type[Any]) -> frozenset[str]:
    """Return the keys of a command whose values are texts."""
    return frozenset(name for name, hint in typing.get_type_hints(schema).items() if str in _kinds(hint))


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Return the alternatives of a type, as of ``int | None``."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _checked(key: str, value: Any, hint: Any, least: int | None) -> Any:
    """Return a value of the type of a key."""
    kinds = _kinds(hint)
    if Any in kinds or (value is None and types.NoneType in kinds):
        return value
    for kind in kinds:
        if kind is bool and isinstance(value, bool):
            return value
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind is int and isinstance(value, int) and is_number and _is_enough(value, least):
            return value
        if kind is float and is_number and _is_enough(value, least):
            return float(value)
        if kind is str and isinstance(value, str | int | float):
            return str(value)
        if kind == list[str] and OmegaConf.is_list(value):
            return [str(item) for item in value]
    raise InputError(f"{key}={value}: must be {_describe(kinds, least)}")


def _is_enough(value: float, least: int | None) -> bool:
    return least is None or value >= least


def _describe(kinds: tuple[Any, ...], least: int | None) -> str:
    names = {
        bool: "true or false",
        int: "an integer" if least is None else f"an integer of at least {least}",
        float: "a number" if least is None else f"a number of at least {least}",
        str: "a text",
        list[str]: "a list, such as [a,b]",
        types.NoneType: "null",
    }
    return " or ".join(names[kind] for kind in kinds)
