"""``bua features check``: find what is damaged in a feature file."""

import logging
import sys
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.store.check import check_store

log = logging.getLogger(__name__)


def main(config: Any) -> None:
    """Say that a file is sound, or what is not, one line each."""
    problems = check_store(Path(config.file))
    for problem in problems[:-1]:
        print(problem, file=sys.stderr)
    if problems:
        raise InputError(problems[-1])
    log.info(f"{config.file}: sound")
