"""The word ``trust=[PACKAGE]`` of a command line, which is never part of a configuration."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bua.cli.text import unquote
from bua.engine.trust import (
    VARIABLE,
    check_installed,
    check_names,
    packages_of_environment,
)
from bua.errors import InputError

#: Commands that build objects from configurations or load them.
BUILDING = (
    "train",
    "extract",
    "detect",
    "evaluate",
    "predict",
    "caption",
    "ask",
    "export-detector",
    "sweep resume",
)


@contextmanager
def command_line_trust(command: str, words: Sequence[str]) -> Iterator[list[str]]:
    """Trust the packages that a command line names, and yield its other words.

    The words of trust are taken out before anything is composed, recorded or repeated: only what is typed
    counts. The packages are added to ``BUA_TRUST``, which processes that the command starts inherit.

    Args:
        command: Name of the command.
        words: Words of the command line after it.

    Raises:
        InputError: If a package does not exist, or the command builds nothing of another package.
    """
    own = [word for word in words if word.lstrip("+").partition("=")[0] == "trust"]
    names = [name for word in own for name in _read_names(word)]
    if own and command not in BUILDING:
        raise InputError(f"{own[0]}: uses no class of another package; {', '.join(BUILDING)} do")
    check_names(names, "trust")
    check_installed(names)
    former = os.environ.get(VARIABLE)
    if names:
        os.environ[VARIABLE] = ",".join(dict.fromkeys([*packages_of_environment(), *names]))
    try:
        yield [word for word in words if word not in own]
    finally:
        os.environ.pop(VARIABLE, None)
        if former is not None:
            os.environ[VARIABLE] = former


def _read_names(word: str) -> list[str]:
    """Return the names in ``trust=mypkg``, ``trust=[mypkg,other]`` or ``trust=null``."""
    value = unquote(word).partition("=")[2].strip()
    names = [name.strip().strip("'\"") for name in value.removeprefix("[").removesuffix("]").split(",")]
    return [name for name in names if name not in ("", "null")]


def refuse_configured_trust(config: Any, trusted: str | None) -> None:
    """Raise ``InputError`` if a configuration tries to make a package trusted.

    Args:
        config: Composed configuration.
        trusted: Value of ``BUA_TRUST`` before it was composed.
    """
    if "trust" in config:
        raise InputError(
            f"trust={config.get('trust')} stands in a configuration, where it does not count: give it on the "
            f"command line, or set {VARIABLE}, if you trust the code of the package"
        )
    if os.environ.get(VARIABLE) != trusted:
        raise InputError(f"hydra.job.env_set.{VARIABLE}: does not count in a configuration; leave it out")
