"""What the command line gave."""

import re
from collections.abc import Collection

from hydra.core.hydra_config import HydraConfig

from bua.errors import InputError


def refuse(keys: Collection[str], why: str) -> None:
    """Raise ``InputError`` if the command line gives a key that would do nothing.

    Args:
        keys: keys and groups; ``key=null`` is no gift.
        why: what the line says behind it.
    """
    for word in HydraConfig.get().overrides.task:
        key, _, value = word.lstrip("+~").partition("=")
        if re.split(r"[.@]", key)[0] in keys and value != "null":
            unquoted = value.strip("'")
            raise InputError(f"{key}={unquoted}: {why}")
