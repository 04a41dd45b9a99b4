"""Mistakes in overrides that Hydra or OmegaConf finds, in one line."""

import re
from collections.abc import Sequence
from pathlib import Path

from bua.cli.configurations import compose_keys, describe_unknown_option
from bua.cli.text import did_you_mean
from bua.engine.trainer_options import ELSEWHERE
from bua.errors import InputError


def explain(error: Exception, name: str, words: Sequence[str] = (), folders: Sequence[Path] = ()) -> str:
    """Return one line about a mistake that Hydra or OmegaConf found.

    Args:
        error: What was raised.
        name: Name of the configuration.
        words: Overrides of the command line.
        folders: Further folders of configurations.
    """
    text = str(error)
    unknown = re.search(r"Key '([^']+)' is not in struct|Could not override '([^']+)'", text)
    if unknown:
        key = (re.search(r"full_key: (\S+)", text) or unknown).group(1) or unknown.group(2)
        if name == "train" and key.removeprefix("trainer.") in ELSEWHERE:
            return f"{key}: {ELSEWHERE[key.removeprefix('trainer.')]}"
        default = compose_keys(name).paths()
        if key in default:
            return f"{key} is not a key of the chosen groups or experiment (--cfg job lists their keys)"
        try:
            keys = compose_keys(name, words, folders).paths()
        except InputError:
            keys = default
        hint = did_you_mean(key, keys)
        return f"there is no key {key!r}{hint} (bua {name.replace('_', ' ')} --help lists the keys)"
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing.group(1)} must be given: {missing.group(1)}=..."
    option = re.search(r"Could not find '([^/']+)/([^']+)'", text)
    if option:
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        return describe_unknown_option(option[1], option[2], options)
    return text.split("\n")[0] if "\n\n" in text else text
