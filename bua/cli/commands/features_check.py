"""``bua features check``: find what is damaged in a feature file."""

import logging
import sys
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.store.check import check_store
from bua.store.checksum import checksummed_columns

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Say that a file is sound, or what is not, one line each."""
    path = Path(config.file)
    problems = check_store(path)
    for problem in problems[:-1]:
        print(problem, file=sys.stderr)
    if problems:
        raise InputError(problems[-1])
    older = "; without a seal, a changed byte outside of the region columns may go unseen"
    log.info(f"{path}: sound{older if checksummed_columns(path) is None else ''}")
