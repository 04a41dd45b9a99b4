"""Files that commands write for ``out=``, in the same way everywhere.

``out=`` names what is written, its folder is made, an existing file is replaced only by a complete one, and a
line says what was written where. Commands that take long check before they start whether they can write it.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.io.write import write_text

log = logging.getLogger(__name__)


def check_file(out: str | None) -> None:
    """Raise ``InputError`` if a file to write is a folder; ``None`` is no file."""
    if out is not None and Path(out).is_dir():
        raise InputError(f"{out}: is a directory, expected a file name")


def write_json(out: str | Path, content: Any, summary: str, *, indent: int | None = 1) -> None:
    """Write a JSON file and report it.

    Args:
        out: File to write.
        content: Plain values without infinities or NaN.
        summary: What is in it, for the line that reports it.
        indent: Number of spaces by which the values are indented; ``None`` for a single line. Default: 1.

    Raises:
        InputError: If it cannot be written.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    write_text(out, f"{text}\n")
    log.info(f"{out}: {summary}")


def print_json(content: Any) -> None:
    """Print JSON on the standard output, and whatever is reported from now on on the standard error."""
    print(json.dumps(content, indent=1))
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
