"""Building objects from configurations, and trying them out.

Only classes of an allow-list of modules can be built. Options that Lightning and torch would reject only
after the training has begun are tried out before.
"""

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import hydra.utils
import torch
from hydra.errors import InstantiationException
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from bua.engine.trainer_options import ELSEWHERE
from bua.errors import InputError

_INTERPOLATION = re.compile(r"(\\*)\$\{")
#: Allowed prefixes of ``_target_``; everything else is rejected before it is imported.
ALLOWED = ("bua.", "torch.optim.", "pytorch_lightning.", "torchmetrics.")


def instantiate(config: Any, *, allowed: tuple[str, ...] = ALLOWED, **values: Any) -> Any:
    """Build the object that a configuration describes.

    Args:
        config: Configuration with ``_target_``; nested configurations are built, too. In plain values, such
            as those of a checkpoint, ``${...}`` is text.
        allowed: Prefixes of the modules whose classes may be built. Default: ``ALLOWED``.
        values: Further keyword arguments, which are passed on unchanged.

    Raises:
        InputError: If a ``_target_`` is not a class defined in an allowed module, or does not accept its
            arguments.
    """
    plain = OmegaConf.create(_escape(to_plain(config)))
    for key, target in find_targets(plain):
        if not is_allowed(target, allowed):
            raise InputError(f"{key}: {target} may not be built; must be a class of {', '.join(allowed)}")
    try:
        factory = hydra.utils.instantiate(plain, _partial_=True, _convert_="all")
    except InstantiationException as error:  # a nested object; the cause says what was wrong
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        key = str(error).rpartition("full_key: ")[2] if "full_key: " in str(error) else plain["_target_"]
        message = str(error.__cause__ or error)
        raise InputError(message if message.startswith(f"{key}.") else f"{key}: {message}") from error
    if plain.get("_partial_"):
        return functools.partial(factory, **values)
    try:
        # the values are not part of the configuration, so nothing in them is built
        return factory(**values)
    except InputError:
        raise
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise InputError(f"{plain['_target_']} refuses its arguments: {error}") from error


def _escape(values: Any) -> Any:
    """Return plain values in which nothing is an interpolation of OmegaConf."""
    if isinstance(values, dict):
        return {key: _escape(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_escape(value) for value in values]
    if isinstance(values, str):
        return _INTERPOLATION.sub(lambda match: match[1] * 2 + r"\${", values)
    return values


def is_allowed(target: str, allowed: tuple[str, ...]) -> bool:
    """Return whether a dotted name is a class defined in an allowed module.

    An allowed prefix alone is not enough: the name could reach another library through the imports of an
    allowed module.
    """
    module, _, name = target.rpartition(".")
    if not f"{module}.".startswith(allowed):
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return inspect.isclass(found) and f"{found.__module__}.".startswith(allowed)


def find_targets(config: Any, key: str = "") -> list[tuple[str, str]]:
    """Return the key and the value of every ``_target_`` in a configuration."""
    if isinstance(config, ListConfig | list):
        pairs = [(f"{key}[{n}]", value) for n, value in enumerate(config)]
    elif isinstance(config, DictConfig | dict):
        pairs = [(f"{key}.{name!s}".strip("."), value) for name, value in config.items()]
    else:
        return []
    here = [(name, str(value)) for name, value in pairs if name.split(".")[-1] == "_target_"]
    return here + [found for name, value in pairs for found in find_targets(value, name)]


def to_plain(config: Any) -> Any:
    """Return a configuration as dictionaries, lists and values, with all interpolations resolved."""
    if isinstance(config, DictConfig | ListConfig):
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return config


#: Options of the trainer that count something, with their least values; null leaves them to Lightning.
TRAINER_COUNTS = {
    "max_epochs": -1,
    "min_epochs": 0,
    "max_steps": -1,
    "min_steps": 0,
    "num_sanity_val_steps": -1,
    "check_val_every_n_epoch": 1,
    "accumulate_grad_batches": 1,
    "log_every_n_steps": 0,
    "num_nodes": 1,
}
#: Lengths of a training with which schedules are tried out.
_LENGTHS = {"total_steps": 1000, "steps_per_epoch": 100}


def check_optimization(
    config: Mapping[str, Any], optimizer: Callable[..., Any], scheduler: Callable[..., Any] | None
) -> None:
    """Try out an optimizer and its schedule on a single parameter.

    Args:
        config: Configuration of the training, for messages.
        optimizer: Factory of the optimizer.
        scheduler: Factory of the schedule, or ``None``.

    Raises:
        InputError: If torch rejects an option.
    """
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    built = _try("optimizer", config["optimizer"], optimizer, [parameter])
    _try("optimizer", config["optimizer"], built.step)
    if scheduler is None:
        return
    parameters = inspect.signature(scheduler).parameters
    lengths = {name: value for name, value in _LENGTHS.items() if name in parameters}
    schedule = _try("scheduler", config["scheduler"], scheduler, built, **lengths)
    built.step()  # which torch expects before the step of a schedule
    _try("scheduler", config["scheduler"], schedule.step)


def _try(
    key: str, options: Mapping[str, Any], function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    try:
        return function(*args, **kwargs)
    except (TypeError, ValueError, ArithmeticError, AttributeError, IndexError, RuntimeError) as error:
        given = ", ".join(f"{key}.{name}={value}" for name, value in options.items() if name[0] != "_")
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{given}: {reason}") from error


def check_trainer(config: Mapping[str, Any]) -> None:
    """Check the options of the trainer that count something, and those that belong elsewhere.

    Raises:
        InputError: If a count is not an integer or too small, or an option belongs elsewhere.
    """
    for key, instead in ELSEWHERE.items():
        if key in config:
            raise InputError(f"trainer.{key}={config[key]}: {instead}")
    for key, least in TRAINER_COUNTS.items():
        value = config.get(key)
        if value is not None and (type(value) is not int or value < least):
            raise InputError(f"trainer.{key}={value}: must be an integer of at least {least}, or null")
