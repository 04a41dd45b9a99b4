"""Building objects from configurations; only classes of an allow-list of modules can be built."""

import functools
import importlib
import inspect
import re
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, ListConfig, OmegaConf

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
