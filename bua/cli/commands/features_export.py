"""``bua features export``: write a store in a foreign format."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from bua.store.formats.export_store import export_store

log = logging.getLogger(__name__)


@dataclass
class Options:
    """Keys of the command, described in conf/features_export.yaml."""

    format: str
    file: str
    out: str


def main(options: Options) -> None:
    """Export a store; what the format cannot hold is reported on stderr."""
    out = Path(options.out)
    store = export_store(options.format, Path(options.file), out, _report)
    log.info(f"{out}: {len(store)} images, {store.counts().sum()} regions as {options.format}")


def _report(line: str) -> None:
    print(f"bua features export: {line}", file=sys.stderr)
