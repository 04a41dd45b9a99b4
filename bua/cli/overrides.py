"""The overrides of the command line."""

import re
from collections.abc import Collection

from hydra.core.hydra_config import HydraConfig

from bua.errors import InputError


def reject_overrides(keys: Collection[str], reason: str) -> None:
    """Raise ``InputError`` if the command line sets a key that would have no effect.

    Args:
        keys: Keys and groups; keys below them are meant, too. ``key=null`` sets nothing.
        reason: What the message says after the override.
    """
    for word in HydraConfig.get().overrides.task:
        key, _, value = word.lstrip("+~").partition("=")
        path = re.split(r"[.@]", key)
        if value != "null" and any(".".join(path[:n]) in keys for n in range(1, len(path) + 1)):
            raise InputError(f"{key}={value.strip(chr(39))}: {reason}")
