"""``bua features export``: write a store in a foreign format."""

import logging
import sys
from pathlib import Path
from typing import Any

from bua.store.formats.export_store import export_store

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Export a store; what the format cannot hold is reported on stderr."""
    out = Path(config.out)
    store = export_store(config.format, Path(config.file), out, _report)
    log.info(f"{out}: {len(store)} images, {store.counts().sum()} regions as {config.format}")


def _report(line: str) -> None:
    print(f"bua features export: {line}", file=sys.stderr)
