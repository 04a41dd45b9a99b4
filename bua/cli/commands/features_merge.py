"""``bua features merge``: merge stores of the same detector."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import ListConfig

from bua.errors import InputError
from bua.store.merge import merge_stores

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Merge stores and report the result."""
    if not isinstance(config.files, ListConfig):
        raise InputError(f"files={config.files}: must be a list such as files=[a.h5,b.h5]")
    result = merge_stores([Path(str(file)) for file in config.files], Path(config.out))
    repeated = f", {result.repeated} duplicates skipped" if result.repeated else ""
    log.info(f"{config.out}: {result.images} images, {result.regions} regions{repeated}")
