"""``bua features merge``: merge stores of the same detector."""

import logging
from dataclasses import dataclass
from pathlib import Path

from bua.store.merge import merge_stores

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/features_merge.yaml."""

    files: list[str]
    out: str


def main(options: Options) -> None:
    """Merge stores and report the result."""
    result = merge_stores([Path(file) for file in options.files], Path(options.out))
    repeated = f", {result.repeated} duplicates skipped" if result.repeated else ""
    log.info(f"{options.out}: {result.images} images, {result.regions} regions{repeated}")
