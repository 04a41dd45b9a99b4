"""Run a command as a Hydra application, with every mistake of the user reported in one line.

The YAML file of a command holds the default values and describes its keys. The dataclass ``Options`` of its
module holds their types and least values: ``read_options`` checks a composed configuration against them, and
``text_keys`` names the keys whose values need no quotes on the command line.
"""

import dataclasses
import difflib
import functools
import importlib
import logging
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bua.errors import InputError


def run(command: str, overrides: list[str]) -> None:
    """Compose the configuration of a command and run it.

    Args:
        command: Name of the command, as it is typed.
        overrides: Words of the command line after it.

    Raises:
        InputError: If a key, a group or a value of the command line does not exist or is wrong.
    """
    name = config_name(command)
    module = importlib.import_module(f"bua.cli.commands.{name}")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    for noisy in ("pytorch_lightning", "lightning", "lightning_fabric", "lightning.fabric", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)  # after the import, which sets a level, too
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting
    is_multirun = bool({"-m", "--multirun"} & set(overrides))
    raised: list[BaseException] = []

    @functools.wraps(module.main)
    def task(config: DictConfig) -> Any:
        options = read_options(config, module.Options)
        if OmegaConf.select(config, "device") is not None:
            config.device = options.device = resolve_device(options.device)
        return module.main(options)

    application = hydra.main(version_base="1.3", config_path="pkg://bua.conf", config_name=name)(
        task if is_multirun else _keep_errors(task, raised)
    )
    keys = text_keys(module.Options)
    words = overrides if is_multirun else [quote(word, keys) for word in overrides]
    argv, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        application()
        if raised:
            raise raised[0]
    except (HydraException, OmegaConfBaseException) as error:
        if os.environ.get("BUA_TRACEBACK"):
            raise
        raise InputError(explain(error, name)) from None
    except ValueError as error:  # of Hydra, about GROUP=null
        if not str(error).startswith("Config group override"):
            raise
        word = next((word for word in overrides if word.endswith("=null")), "a group")
        raise InputError(f"{word}: a group takes the name of one of its options") from None
    finally:
        sys.argv = argv


def config_name(command: str) -> str:
    """Return the name of a command's configuration, which is also that of its module."""
    return command.replace(" ", "_").replace("-", "_")


def resolve_device(name: str) -> str:
    """Return the name of a device; "auto" is a GPU if there is one, and the CPU otherwise.

    Raises:
        InputError: If torch has no such device on this machine.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={name}: {str(error).splitlines()[0]}; cpu always exists") from None
    return name


def quote(word: str, keys: Collection[str]) -> str:
    """Quote the value of an override whose key holds a text, so that the user need not quote it for Hydra."""
    key, equals, value = word.partition("=")
    if not equals or key not in keys or not value or value == "null" or value[0] in "'\"[":
        return word
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"


def _keep_errors(function: Callable[[Any], Any], raised: list[BaseException]) -> Callable[[Any], Any]:
    """Keep errors that have a line of their own from Hydra, which would print more about them."""

    @functools.wraps(function)
    def wrapped(config: DictConfig) -> Any:
        try:
            return function(config)
        except BrokenPipeError:  # the reader of our output has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (InputError, HydraException, OmegaConfBaseException, OSError, KeyboardInterrupt) as error:
            raised.append(error)

    return wrapped


def explain(error: Exception, name: str) -> str:
    """Return one line about a mistake that Hydra or OmegaConf found.

    Args:
        error: What was raised.
        name: Name of the configuration.
    """
    text = str(error)
    unknown = re.search(r"Key '([^']+)' is not in struct|Could not override '([^']+)'", text)
    if unknown:
        key = (re.search(r"full_key: (\S+)", text) or unknown).group(1) or unknown.group(2)
        close = difflib.get_close_matches(key, _all_keys(name), n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"there is no key {key!r}{hint} (bua {name.replace('_', ' ')} --cfg job lists the keys)"
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing.group(1)} must be given: {missing.group(1)}=..."
    option = re.search(r"Could not find '([^/']+)/([^']+)'", text)
    if option:
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        return f"there is no {option[1]}={option[2]}; the options are {', '.join(options) or 'none'}"
    return text.split("\n")[0] if "\n\n" in text else text


def _all_keys(name: str) -> list[str]:
    """Return every key of a configuration with the keys above it, joined by dots."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_module("bua.conf", version_base="1.3"):
        return _keys_below(OmegaConf.to_container(compose(name), resolve=False), "")


def _keys_below(node: Any, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return []
    pairs = [(f"{prefix}{key!s}", value) for key, value in node.items()]
    return [key for key, _ in pairs] + [k for key, value in pairs for k in _keys_below(value, f"{key}.")]


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


def reject_overrides(keys: Collection[str], reason: str) -> None:
    """Raise ``InputError`` if the command line sets a key that would have no effect.

    Args:
        keys: Keys and groups; keys below them are meant, too. ``key=null`` sets nothing.
        reason: What the message says after the override.
    """
    for word in HydraConfig.get().overrides.task:
        key, _, value = word.lstrip("+~").partition("=")
        path = re.split(r"[.@]", key)
        if value != "null" and any(".".join(path[:n]) in keys for n in range(1, len(path) + 1)):
            raise InputError(f"{key}={value.strip(chr(39))}: {reason}")
