"""Checks of options that Lightning and torch would reject only after the training has begun."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from bua.errors import InputError

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
    """Check the options of the trainer that count something.

    Raises:
        InputError: If one of them is not an integer, or too small.
    """
    for key, least in TRAINER_COUNTS.items():
        value = config.get(key)
        if value is not None and (type(value) is not int or value < least):
            raise InputError(f"trainer.{key}={value}: must be an integer of at least {least}, or null")
