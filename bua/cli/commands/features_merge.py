"""``bua features merge``: stores of one detector become one."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import ListConfig

from bua.errors import InputError
from bua.store.merge import merge_stores

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Merge and report."""
    if not isinstance(config.files, ListConfig):
        raise InputError(f"files={config.files}: a list is needed: files=[a.h5,b.h5]")
    done = merge_stores([Path(str(file)) for file in config.files], Path(config.out))
    twice = f", {done.repeated} were in several files" if done.repeated else ""
    log.info(f"{config.out}: {done.images} images, {done.regions} regions{twice}")
