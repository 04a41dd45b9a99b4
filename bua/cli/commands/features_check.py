"""``bua features check``: find damage in a feature file."""

import logging
import sys
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.store.check import check_store
from bua.store.checksum import checksummed_columns

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Report that a file is valid, or its problems, one line each."""
    path = Path(config.file)
    problems = check_store(path)
    for problem in problems[:-1]:
        print(problem, file=sys.stderr)
    if problems:
        raise InputError(problems[-1])
    caveat = "; without a checksum header, damage outside the region columns may go unnoticed"
    log.info(f"{path}: valid{caveat if checksummed_columns(path) is None else ''}")
