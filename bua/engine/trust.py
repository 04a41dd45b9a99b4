"""Packages other than bua whose classes may be built from a configuration.

A package is trusted if the user names it (``trust=[mypkg]`` on the command line, ``trusting`` or
``bua.load(..., trust=["mypkg"])`` in Python), if the environment variable ``BUA_TRUST`` names it, or if it is
installed and declares itself with an entry point of the group ``bua.plugins``. Nothing that a configuration,
a checkpoint or a run directory contains makes a package trusted, because these are passed on and downloaded.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path

from bua.errors import InputError

#: Environment variable with the names of trusted packages, separated by commas.
VARIABLE = "BUA_TRUST"
#: Group of the entry points by which an installed package declares itself as a plugin.
GROUP = "bua.plugins"

_named: ContextVar[tuple[str, ...]] = ContextVar("packages that trusting() names", default=())


def trusted_packages() -> tuple[str, ...]:
    """Return the names of all trusted packages, each once.

    Raises:
        InputError: If ``BUA_TRUST`` contains something other than names of packages.
    """
    return tuple(dict.fromkeys((*_named.get(), *packages_of_environment(), *_declared_packages())))


def packages_of_environment() -> list[str]:
    """Return the packages that ``BUA_TRUST`` names.

    Raises:
        InputError: If it contains something other than names of packages.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    check_names(names, VARIABLE)
    return names


def _declared_packages() -> list[str]:
    """Return the packages that declare themselves as plugins."""
    names = (point.value.partition(":")[0].partition(".")[0] for point in metadata.entry_points(group=GROUP))
    return [name for name in names if name not in sys.stdlib_module_names]


@contextmanager
def trusting(packages: Iterable[str]) -> Iterator[None]:
    """Trust packages within a ``with`` block.

    Args:
        packages: Names of top-level packages, as in ``import mypkg``.

    Raises:
        InputError: If one of them is not installed, or is part of Python.
    """
    names = [packages] if isinstance(packages, str) else list(packages)
    check_names(names, "trust")
    check_installed(names)
    token = _named.set((*_named.get(), *names))
    try:
        yield
    finally:
        _named.reset(token)


def check_names(names: Iterable[str], key: str) -> None:
    """Raise ``InputError`` if something is not the name of a package that can be trusted.

    Args:
        names: Names.
        key: Where they were given, for the message.
    """
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            wanted = str(name).partition(".")[0].replace("-", "_")
            hint = f", such as {wanted}" if wanted.isidentifier() else ""
            raise InputError(f"{key}={name}: must be the name by which Python imports a package{hint}")
        if name in sys.stdlib_module_names:
            raise InputError(f"{key}={name}: is part of Python, and none of its classes can be used")


def check_installed(names: Iterable[str]) -> None:
    """Raise ``InputError`` if Python finds no package of one of these names; none is imported."""
    for name in names:
        if not is_installed(name):
            raise InputError(
                f"trust={name}: Python finds no package {name}; install it, or add its folder to PYTHONPATH"
            )


def is_installed(name: str) -> bool:
    """Return whether Python finds a package or module of this name, which is not imported."""
    return name in sys.modules or importlib.util.find_spec(name) is not None


def describe_distrust(package: str) -> str:
    """Return why nothing of a package that is not trusted may be built, and how to trust it."""
    missing = not is_installed(package)
    problem = "is not installed; install it, and if" if missing else "is not trusted; if"
    return (
        f"package {package} {problem} you trust its code, give trust=[{package}] or set {VARIABLE}={package}"
    )


def configuration_folders() -> list[Path]:
    """Return the folders ``conf`` of trusted packages, which are found without importing a package."""
    specs = (importlib.util.find_spec(name) for name in trusted_packages() if name not in ("bua", "__main__"))
    roots = (Path(root) for spec in specs if spec for root in spec.submodule_search_locations or ())
    return [root / "conf" for root in roots if (root / "conf").is_dir()]


def describe_plugin_error(error: BaseException) -> str | None:
    """Return one line about an error in the code of a trusted package, or ``None`` about any other error."""
    trusted = set(trusted_packages())
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in trusted:
            reason = str(error).partition("\n")[0]
            place = f"{frame.f_code.co_filename}, line {line}"
            return f"{package} failed at {place}: {type(error).__name__}{': ' if reason else ''}{reason}"
    return None
