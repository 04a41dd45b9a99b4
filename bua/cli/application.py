"""Running one command as a Hydra application, with a user's mistakes as one line each."""

import difflib
import functools
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from bua.errors import InputError


def run(name: str, function: Callable[[Any], None], arguments: list[str]) -> None:
    """Compose the configuration ``name`` with the arguments and give it to ``function``.

    Raises:
        InputError: a key, a group or a value of the command line is not one that there is.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    for noisy in ("pytorch_lightning", "lightning", "PIL", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting
    mistakes: list[InputError] = []
    command = hydra.main(version_base="1.3", config_path="pkg://bua.conf", config_name=name)(
        _noting(function, mistakes)
    )
    before, sys.argv = sys.argv, [f"bua {name}", *arguments]
    try:
        command()
    except (HydraException, OmegaConfBaseException) as error:
        if os.environ.get("BUA_TRACEBACK"):
            raise
        raise InputError(explain(error, name)) from None
    finally:
        sys.argv = before
    if mistakes:
        raise mistakes[0]


def _noting(function: Callable[[Any], None], mistakes: list[InputError]) -> Callable[[Any], None]:
    """Keep a user's mistake from Hydra, which would print words of its own about it."""

    @functools.wraps(function)
    def noted(config: DictConfig) -> None:
        try:
            function(config)
        except InputError as error:
            mistakes.append(error)
        except MissingMandatoryValue as error:
            mistakes.append(InputError(explain(error, "")))
        except BrokenPipeError:  # whoever read our output has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return noted


def explain(error: Exception, name: str) -> str:
    """Return one line for a mistake that Hydra or OmegaConf found."""
    text = str(error)
    unknown = re.search(r"Key '([^']+)' is not in struct|Could not override '([^']+)'", text)
    if unknown:
        key = (re.search(r"full_key: (\S+)", text) or unknown).group(1) or unknown.group(2)
        close = difflib.get_close_matches(key, _keys(name), n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"there is no key {key!r}{hint} (bua {name} --cfg job lists the keys)"
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing.group(1)} is needed: give {missing.group(1)}=..."
    option = re.search(r"Could not find '([^/']+)/([^']+)'", text)
    if option:
        close = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        return f"there is no {option[1]}={option[2]}; there is {', '.join(close) or 'none'}"
    return text.split("\n")[0] if "\n\n" in text else text


def _keys(name: str) -> list[str]:
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_module("bua.conf", version_base="1.3"):
        return _paths(compose(name))


def _paths(config: DictConfig, prefix: str = "") -> list[str]:
    paths = []
    for key in config:
        path = f"{prefix}{key}"
        paths.append(path)
        if not OmegaConf.is_missing(config, key):
            value = OmegaConf.to_container(config, resolve=False)[key]  # type: ignore[index, call-overload]
            if isinstance(value, dict):
                paths += _paths(OmegaConf.create(value), f"{path}.")
    return paths
