"""The classes that a configuration names by ``_target_``: which may be built, and where they are."""

import difflib
import importlib
import inspect
import sys
from typing import Any

from omegaconf import DictConfig, ListConfig

from bua.engine.trust import describe_distrust, describe_plugin_error, trusted_packages
from bua.errors import InputError

#: Allowed prefixes of ``_target_``; all but these and trusted packages is rejected before it is imported.
ALLOWED = ("bua.", "torch.optim.", "pytorch_lightning.", "torchmetrics.")
#: Packages of these; to trust a whole one of them is never the remedy.
_LIBRARIES = {prefix.partition(".")[0] for prefix in ALLOWED}


def find_class(target: str, allowed: tuple[str, ...] = ALLOWED) -> type:
    """Return the class that a ``_target_`` names.

    An allowed prefix alone is not enough: the name could reach another library through the imports of an
    allowed module.

    Args:
        target: Dotted name.
        allowed: Prefixes of allowed modules, besides those of trusted packages. Default: ``ALLOWED``.

    Raises:
        InputError: If the name is not a class defined in an allowed module or a trusted package, or its
            module cannot be imported.
    """
    module, _, name = target.rpartition(".")
    package = module.partition(".")[0]
    refusal = f"{target} may not be built"
    general = InputError(f"{refusal}; must be a class of {', '.join(p.removesuffix('.') for p in allowed)}")
    if f"{module}.".startswith(allowed):
        found, trusted = _import_allowed(module, name), allowed
        if found is None:
            raise general
    else:
        names = trusted_packages()
        if package not in names:
            known = package in sys.stdlib_module_names or package in _LIBRARIES
            is_library = known or not package.isidentifier()
            raise general if is_library else InputError(f"{refusal}: {describe_distrust(package)}")
        found, trusted = _import_trusted(module, name), (*allowed, *(f"{each}." for each in names))
    if not inspect.isclass(found):
        raise InputError(f"{refusal}: is not a class")
    if not f"{found.__module__}.".startswith(trusted):
        raise InputError(f"{refusal}: it is defined in {found.__module__}, which is not trusted")
    return found


def _import_allowed(module: str, name: str) -> Any:
    """Return what an allowed module calls by a name; ``None`` if there is no such thing."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _import_trusted(module: str, name: str) -> Any:
    """Return what a module of a trusted package calls by a name.

    Raises:
        InputError: If the module does not exist, fails when it is imported, or does not have the name.
    """
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever the module of somebody else raises
        reason = describe_plugin_error(error) or f"{type(error).__name__}: {error}"
        raise InputError(f"{module}: cannot be imported ({' '.join(reason.split())})") from error
    if not hasattr(imported, name):
        names = [key for key, value in vars(imported).items() if inspect.isclass(value)]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"{module}.{name}: {module} has no class {name}{hint}")
    return getattr(imported, name)


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


def plugin_packages(config: Any) -> set[str]:
    """Return the packages of the classes in a configuration, other than bua and those that it is built on."""
    return {target.partition(".")[0] for _, target in find_targets(config)} - _LIBRARIES
