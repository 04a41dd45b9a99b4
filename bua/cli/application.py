"""Running a command as a Hydra application, with a user's mistakes as one line each."""

import difflib
import functools
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Collection
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bua.cli.schema import read_options, text_keys
from bua.cli.usage import config_name
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
            from bua.engine.distributed import resolve_device

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
