"""What image decoders print: Pillow's warnings, and the lines that libtiff writes to the standard error."""

import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from PIL import Image

#: Descriptor of the standard error, to which C libraries write.
_STANDARD_ERROR = 2
#: Bytes of the lines of one image that are read; a damaged one may cause millions of lines.
_MAX_BYTES = 2**16
#: The standard error belongs to the whole process, so only one thread at a time may redirect it.
_redirection = threading.Lock()


@contextmanager
def collected_warnings(messages: list[str]) -> Iterator[None]:
    """Append Pillow's warnings to a list when the context ends, one line each, instead of printing them.

    Warnings about large images are ignored, because their number of pixels is checked elsewhere.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            yield
        finally:
            messages += [" ".join(str(warning.message).split()) for warning in caught]


@contextmanager
def collected_lines(messages: list[str]) -> Iterator[None]:
    """Append what C libraries write to the standard error to a list when the context ends.

    Only for the time in which such a library runs: lines of other threads are collected as well.
    """
    if sys.__stderr__ is None:  # the process began without one, so the descriptor may be that of any file
        yield
        return
    with _redirection:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        original = os.dup(_STANDARD_ERROR)
        with _scratch_file() as file:
            os.dup2(file.fileno(), _STANDARD_ERROR)
            try:
                yield
            finally:
                os.dup2(original, _STANDARD_ERROR)
                os.close(original)
                file.seek(0)
                text = file.read(_MAX_BYTES).decode(errors="replace")
                messages += [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _scratch_file() -> IO[bytes]:
    """Return an empty file that vanishes when it is closed, or the null device where none can be made."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")
