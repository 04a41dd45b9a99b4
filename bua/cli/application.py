"""Running one command as a Hydra application, with a user's mistakes as one line each."""

import difflib
import functools
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

from bua.errors import InputError

#: Keys whose values are texts: paths, names and questions.
TEXTS = frozenset(
    ["annotations", "answers", "attributes", "boxes", "captions", "classes", "features", "file", "genome"]
    + ["glove", "html", "ids", "images", "instances", "karpathy", "name", "objects", "out", "pairs"]
    + ["predictions", "question", "questions", "references", "root", "run", "scenes", "source", "start"]
    + ["train", "train_ids", "val", "val_annotations", "val_ids", "val_instances", "val_questions"]
    + ["vectors", "vqa", "weights", "words", "constraints"]
)
#: Names the command to the processes that Lightning starts; their words are those behind it.
COMMAND = "BUA_COMMAND"
#: Whole numbers and the least that each may be.
LEAST = {
    **dict.fromkeys(
        ["batch_size", "shard_size", "candidates", "questions_each", "n_best", "required", "attention"], 1
    ),
    **dict.fromkeys(["decode.beam_size", "decode.max_length"], 1),
    **dict.fromkeys(["top_objects", "top_attributes", "most_attributes"], 1),
    **dict.fromkeys(["data.batch_size", "data.max_length", "data.captions_each", "most"], 1),
    **dict.fromkeys(["data.length", "data.min_answer_count", "min_answer_count"], 1),
    **dict.fromkeys(["workers", "max_errors", "seed"], 0),
}
#: Keys that are true or false.
FLAGS = ("any_features", "compile", "complete", "json", "quirks", "resume")
#: ``LEAST`` for keys that are numbers of pictures in these commands and files in others.
PICTURES = dict.fromkeys(["train", "val", "test", "novel"], 0)
DRAWING = ("scenes", "quickstart", "genome")


def run(name: str, function: Callable[[Any], Any], arguments: list[str]) -> None:
    """Compose the configuration ``name`` with the arguments and give it to ``function``.

    Raises:
        InputError: a key, a group or a value of the command line is not one that there is.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    for noisy in ("pytorch_lightning", "lightning", "lightning_fabric", "lightning.fabric", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting
    many = bool({"-m", "--multirun"} & set(arguments))
    problems: list[BaseException] = []
    checked = _checked(function, LEAST | PICTURES if name in DRAWING else LEAST)
    task = checked if many else _keeping(checked, problems)
    command = hydra.main(version_base="1.3", config_path="pkg://bua.conf", config_name=name)(task)
    texts = TEXTS - PICTURES.keys() if name in DRAWING else TEXTS
    words = arguments if many else [quoted(word, texts) for word in arguments]
    os.environ[COMMAND] = name  # for the processes that Lightning starts with the same words
    before, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        command()
        if problems:
            raise problems[0]
    except (HydraException, OmegaConfBaseException) as error:
        if os.environ.get("BUA_TRACEBACK"):
            raise
        raise InputError(explain(error, name)) from None
    except ValueError as error:  # of Hydra, about GROUP=null
        if not str(error).startswith("Config group override"):
            raise
        nothing = next((word for word in arguments if word.endswith("=null")), "a group")
        raise InputError(f"{nothing}: a group takes the name of one of its options") from None
    finally:
        sys.argv = before


def quoted(word: str, texts: Collection[str] = TEXTS) -> str:
    """Quote the value of a key that holds a text, so that it needs no quotes for Hydra in the shell."""
    key, equals, value = word.partition("=")
    if not equals or key not in texts or not value or value == "null" or value[0] in "'\"[":
        return word
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"


def _checked(function: Callable[[Any], Any], least_of: dict[str, int]) -> Callable[[Any], Any]:
    """Look at the keys of a command before anything is loaded."""

    @functools.wraps(function)
    def checked(config: DictConfig) -> Any:
        missing = [str(key) for key in config if OmegaConf.is_missing(config, key)]
        if missing:
            given = " ".join(f"{key}=..." for key in missing)
            raise InputError(f"{', '.join(missing)} is needed: give {given}")
        for key, least in least_of.items():
            value = OmegaConf.select(config, key)
            if value is not None and (not isinstance(value, int) or value < least):
                raise InputError(f"{key}={value}: must be an integer of at least {least}")
        for key in FLAGS:
            if not isinstance(config.get(key, False), bool):
                raise InputError(f"{key}={config[key]}: must be true or false")
        if config.get("device") == "auto":
            config.device = best_device()
        elif config.get("device") is not None:
            check_device(str(config.device))
        return function(config)

    return checked


def best_device() -> str:
    """Return the GPU of this machine, or the CPU where there is none."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str) -> None:
    """Raise ``InputError`` unless torch has such a device on this machine."""
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={name}: {str(error).splitlines()[0]}; cpu is always there") from None


def _keeping(function: Callable[[Any], Any], problems: list[BaseException]) -> Callable[[Any], Any]:
    """Keep from Hydra what has a line of its own; Hydra would print more about it."""

    @functools.wraps(function)
    def kept(config: DictConfig) -> Any:
        try:
            return function(config)
        except BrokenPipeError:  # whoever read our output has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (InputError, HydraException, OmegaConfBaseException, OSError, KeyboardInterrupt) as error:
            problems.append(error)

    return kept


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


def _paths(config: DictConfig) -> list[str]:
    """Return every key with the keys above it, joined by dots."""
    return _below(OmegaConf.to_container(config, resolve=False), "")


def _below(node: Any, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return []
    here = [(f"{prefix}{key!s}", value) for key, value in node.items()]
    return [path for path, _ in here] + [p for path, value in here for p in _below(value, f"{path}.")]
