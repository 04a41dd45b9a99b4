"""The options of a command: the values of a composed configuration, checked against a dataclass."""

import dataclasses
import os
import re
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from bua.cli.text import type_kinds
from bua.errors import InputError

T = TypeVar("T")

#: Keys that name what a command writes.
OUTPUTS = ("out", "html", "plot")
#: Metadata of a field that must be at least 1, or at least 0.
POSITIVE = {"least": 1}
NOT_NEGATIVE = {"least": 0}


@dataclasses.dataclass(frozen=True)
class FollowUp:
    """What a command returns if another one is to run after it.

    Attributes:
        command: Name of the other command.
        words: Its arguments.
    """

    command: str
    words: list[str]


def read_options(config: Any, schema: type[T]) -> T:
    """Return the values of a configuration as the dataclass of a command.

    Args:
        config: Composed configuration. Keys that are not fields are ignored; fields that are not keys are
            ``None``.
        schema: Dataclass whose field types are ``str``, ``int``, ``float``, ``bool``, any of them or
            ``None``, a list of texts, or ``Any``. A field of type ``DictConfig`` gets the configuration
            itself.

    Raises:
        InputError: If a mandatory key is not given, a value has the wrong type or is too small, or a file
            that the command reads would be replaced.
    """
    from omegaconf import DictConfig, OmegaConf

    missing = [str(key) for key in config if OmegaConf.is_missing(config, key)]
    if missing:
        given = " ".join(f"{key}=..." for key in missing)
        raise InputError(f"{', '.join(missing)} must be given: {given}")
    hints = typing.get_type_hints(schema)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(schema):  # type: ignore[arg-type]
        if hints[field.name] is DictConfig:
            values[field.name] = config
            continue
        value = config.get(field.name)
        values[field.name] = _checked(field.name, value, hints[field.name], field.metadata.get("least"))
    check_inputs_remain(values)
    return schema(**values)


def check_inputs_remain(values: Mapping[str, Any]) -> None:
    """Raise ``InputError`` if a file that a command would write is one that it reads.

    Args:
        values: Values of the keys of the command.
    """
    for output in OUTPUTS:
        written = values.get(output)
        if not isinstance(written, str) or not os.path.isfile(written):
            continue
        for key, value in values.items():
            for read in value if isinstance(value, list) else [value]:
                is_path = key not in OUTPUTS and isinstance(read, str)
                if is_path and os.path.exists(read) and os.path.samefile(read, written):
                    raise InputError(
                        f"{output}={written}: would replace the file of {key}=; give another {output}="
                    )


def _checked(key: str, value: Any, hint: Any, least: int | None) -> Any:
    """Return a value converted to the type of its key."""
    kinds = type_kinds(hint)
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
        if kind == list[str] and isinstance(value, Sequence) and not isinstance(value, str):
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


def reject_overrides(keys: Collection[str], reason: str) -> None:
    """Raise ``InputError`` if the command line sets a key that would have no effect.

    Args:
        keys: Keys and groups, including the keys below them. ``key=null`` is allowed.
        reason: Text of the message after the override.
    """
    from hydra.core.hydra_config import HydraConfig

    for word in HydraConfig.get().overrides.task:
        key, _, value = word.lstrip("+~").partition("=")
        path = re.split(r"[.@]", key)
        if value != "null" and any(".".join(path[:n]) in keys for n in range(1, len(path) + 1)):
            raise InputError(f"{key}={value.replace(chr(39), '')}: {reason}")
