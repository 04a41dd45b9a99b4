"""Building objects from configurations, and trying them out.

Only classes of an allow-list of modules and of trusted packages (``bua.engine.trust``) can be built. Options
that Lightning and torch would reject only after the training has begun are tried out before.
"""

import functools
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

from bua.engine.targets import ALLOWED, find_class, find_targets
from bua.engine.trainer_options import ELSEWHERE
from bua.errors import InputError

_INTERPOLATION = re.compile(r"(\\*)\$\{")


def instantiate(
    config: Any, *, allowed: tuple[str, ...] = ALLOWED, kind: type = object, **values: Any
) -> Any:
    """Build the object that a configuration describes.

    Args:
        config: Configuration with ``_target_``; nested configurations are built, too. In plain values, such
            as those of a checkpoint, ``${...}`` is text.
        allowed: Prefixes of the modules whose classes may be built, besides those of trusted packages.
            Default: ``ALLOWED``.
        kind: Class that the object must be an instance of, unless it is partial. Default: any.
        values: Further keyword arguments, which are passed on unchanged.

    Raises:
        InputError: If a ``_target_`` is not a class defined in an allowed module or a trusted package, its
            module cannot be imported, it does not accept its arguments, or the object is of another kind.
    """
    plain = OmegaConf.create(_escape(to_plain(config)))
    for key, target in find_targets(plain):
        try:
            find_class(target, allowed)
        except InputError as error:
            raise (error if key == "_target_" else InputError(f"{key}: {error}")) from error.__cause__
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
        built = factory(**values)
    except InputError:
        raise
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise InputError(f"{plain['_target_']} refuses its arguments: {error}") from error
    if not isinstance(built, kind):
        wanted = f"{kind.__module__}.{kind.__name__}"
        rule = "have the members of" if getattr(kind, "_is_protocol", False) else "be derived from"
        raise InputError(f"{plain['_target_']}: must {rule} {wanted}")
    return built


def _escape(values: Any) -> Any:
    """Return plain values in which nothing is an interpolation of OmegaConf."""
    if isinstance(values, dict):
        return {key: _escape(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_escape(value) for value in values]
    if isinstance(values, str):
        return _INTERPOLATION.sub(lambda match: match[1] * 2 + r"\${", values)
    return values


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


#: Options of optimizers that are numbers; torch compares them before it looks at their types.
_NUMBERS = (
    "lr",
    "weight_decay",
    "eps",
    "momentum",
    "dampening",
    "rho",
    "lr_decay",
    "initial_accumulator_value",
)


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
    for key, value in config["optimizer"].items():
        if key in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"optimizer.{key}={value}: must be a number")
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
