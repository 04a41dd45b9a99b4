"""What the command line gave."""

import re
from collections.abc import Collection, Iterable

from hydra.core.hydra_config import HydraConfig

from bua.errors import InputError


def reject_overrides(keys: Collection[str], why: str, words: Iterable[str] | None = None) -> None:
    """Raise ``InputError`` if the command line gives a key that would do nothing.

    Args:
        keys: keys and groups, and what is below them; ``key=null`` is no gift.
        why: what the line says behind it.
        words: of the command line; those that Hydra was given by default.
    """
    for word in HydraConfig.get().overrides.task if words is None else words:
        key, _, value = word.lstrip("+~").partition("=")
        path = re.split(r"[.@]", key)
        if value != "null" and any(".".join(path[:n]) in keys for n in range(1, len(path) + 1)):
            unquoted = value.strip("'")
            raise InputError(f"{key}={unquoted}: {why}")
