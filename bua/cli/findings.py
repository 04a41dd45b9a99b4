"""Reporting the findings of a validator."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from bua.errors import InputError

log = logging.getLogger(__name__)


def report_findings(path: Path, remarks: Sequence[str], problems: Sequence[str], note: str = "") -> None:
    """Log remarks, print problems to stderr, and log that the file is valid if there are none.

    Args:
        path: File that was validated.
        remarks: Observations that may be intended, one line per remark.
        problems: Mistakes, one line per problem.
        note: Text to add if the file is valid. Default: none.

    Raises:
        InputError: If there are problems; its message is the last of them.
    """
    for remark in remarks:
        log.info(remark)
    for problem in problems[:-1]:
        print(problem, file=sys.stderr)
    if problems:
        raise InputError(problems[-1])
    log.info(f"{path}: valid{note}")
