"""Reading a long JSON list element by element, so that a file of a gigabyte needs a few megabytes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from bua.errors import InputError

CHUNK = 1 << 22  # characters
_SPACE = re.compile(r"[ \t\n\r]*")
#: What may stand behind a whole element.
_ENDS = frozenset(" \t\n\r,]")
_DECODER = json.JSONDecoder()


def elements(path: Path, chunk: int = CHUNK) -> Iterator[Any]:
    """Give the elements of the list that a JSON file is, in their order.

    Args:
        path: a JSON file, UTF-8.
        chunk: characters read at once.

    Raises:
        InputError: there is no such file, or it is not a list in JSON; the place is named.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from _Reader(path, file, chunk).elements()
    except FileNotFoundError:
        packed = path.with_name(f"{path.name}.zip")
        hint = f"; unpack {packed.name}" if packed.exists() else ""
        raise InputError(f"{path}: there is no such file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    except RecursionError:
        raise InputError(f"{path}: not JSON: nested too deeply") from None


class _Reader:
    """A window on the text of a file: what was decoded leaves it, what is needed is read into it."""

    def __init__(self, path: Path, file: TextIO, chunk: int) -> None:
        self.path, self.file, self.chunk = path, file, chunk
        self.text, self.at = "", 0
        self.before = 0  # characters that have left the window
        self.count = 0  # elements given

    def elements(self) -> Iterator[Any]:
        """Give every element."""
        if self.next_mark() != "[":
            raise self.wrong("a list was expected")
        self.at += 1
        if self.next_mark() == "]":
            self.at += 1
        else:
            while True:
                yield self.value()
                self.count += 1
                mark = self.next_mark()
                if mark not in (",", "]"):
                    raise self.wrong("a comma or the end of the list was expected")
                self.at += 1
                if mark == "]":
                    break
        if self.next_mark():
            raise self.wrong("there is more after the end of the list")

    def read(self) -> bool:
        """Read on, at least as much as the window holds already; say whether there was more."""
        self.before += self.at
        self.text, self.at = self.text[self.at :], 0
        more = self.file.read(max(self.chunk, len(self.text)))
        self.text += more
        return bool(more)

    def next_mark(self) -> str:
        """Return the next character that is not white space, or nothing at the end of the file."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.read():
                return ""

    def value(self) -> Any:
        """Decode the value that begins at the next mark."""
        self.next_mark()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if not self.read():
                    self.at = error.pos - (len(error.doc) - len(self.text))
                    raise self.wrong(error.msg) from None
                continue
            behind = len(self.text) - end
            if self.text[end : end + 1] not in _ENDS and self.read():  # a number may go on
                continue
            self.at = len(self.text) - behind
            return value

    def wrong(self, what: str) -> InputError:
        """Return the error for the present place."""
        ends = self.at >= len(self.text) and not self.file.read(1)
        place = "the file ends there" if ends else f"there is {self.text[self.at : self.at + 20]!r}"
        return InputError(
            f"{self.path}: not JSON: {what} at character {self.before + self.at} "
            f"(entry {self.count} of the list), {place}"
        )
