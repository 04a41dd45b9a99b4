"""What commands print: control characters are written out, and a closed output is survived."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

#: Control characters, which a terminal obeys, and halves of characters, which no file can hold.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text in which characters that a terminal would obey are written out, such as \x1b."""
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], text)


class PrintableStream:
    """A text stream that writes out control characters, and takes no more text once it is closed or full.

    Args:
        stream: Stream to write to.

    Attributes:
        failure: Why the stream takes no more text, or ``None``.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text, unless an earlier one could not be written."""
        self._try(self._stream.write, printable(text))
        return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        self._try(self._stream.flush)

    def _try(self, function: Callable[..., Any], *arguments: Any) -> None:
        if self.failure is not None:
            return
        try:
            function(*arguments)
        except OSError as error:
            self.failure = error
            # what is left in the buffer would fail again when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def printable_output() -> Iterator[PrintableStream]:
    """Print through ``PrintableStream``; yields that of the standard output."""
    out, err = PrintableStream(sys.stdout), PrintableStream(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out
        out.flush()
