"""Stream long JSON files, so that reading a gigabyte takes a few megabytes of memory."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from bua.errors import InputError

CHUNK = 1 << 22  # characters
_WHITESPACE = re.compile(r"[ \t\n\r]*")
#: Characters that may follow a complete value.
_DELIMITERS = frozenset(" \t\n\r,]}:")
_DECODER = json.JSONDecoder()


def elements(path: Path, chunk: int = CHUNK) -> Iterator[Any]:
    """Yield the elements of a JSON file that is a list, in order.

    Args:
        path: JSON file, UTF-8.
        chunk: Number of characters to read at once.

    Raises:
        InputError: If the file does not exist or is not a JSON list; the position is named.
    """
    yield from _read(path, chunk, lambda reader: reader.elements())


def members(path: Path, chunk: int = CHUNK) -> Iterator[tuple[str | None, Any]]:
    """Yield the (name, value) members of a JSON file that is an object.

    Members that are lists are yielded element by element. If the file is a list, its elements are
    yielded with ``None`` as their name.

    Args:
        path: JSON file, UTF-8.
        chunk: Number of characters to read at once.

    Raises:
        InputError: If the file does not exist or is neither a JSON list nor an object; the position is
            named.
    """
    yield from _read(path, chunk, lambda reader: reader.members())


def _read(path: Path, chunk: int, parse: Callable[["_Reader"], Iterator[Any]]) -> Iterator[Any]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from parse(_Reader(path, file, chunk))
    except FileNotFoundError:
        archive = path.with_name(f"{path.name}.zip")
        hint = f"; unpack {archive.name}" if archive.exists() else ""
        raise InputError(f"{path}: file does not exist{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    except RecursionError:
        raise InputError(f"{path}: not valid JSON: nested too deeply") from None
    except InputError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"{path}: not valid JSON: {error}") from None


class _Reader:
    """A sliding window over the text of a file: decoded text is dropped, more is read when needed."""

    def __init__(self, path: Path, file: TextIO, chunk: int) -> None:
        self.path, self.file, self.chunk = path, file, chunk
        self.text, self.position = "", 0
        self.dropped = 0  # characters before the window
        self.count = 0  # elements decoded of the current list

    def elements(self) -> Iterator[Any]:
        """Yield the elements of a file that is a list."""
        if self.peek() != "[":
            raise self.error("expected a list")
        yield from self.list_items()
        self.check_end("list")

    def members(self) -> Iterator[tuple[str | None, Any]]:
        """Yield the elements of a file that is a list, or the members of one that is an object."""
        first = self.peek()
        if first == "[":
            for element in self.list_items():
                yield None, element
            self.check_end("list")
        elif first == "{":
            yield from self.object_items()
            self.check_end("object")
        else:
            raise self.error("expected a list or an object")

    def list_items(self) -> Iterator[Any]:
        """Yield the elements of the list that starts here."""
        for _ in self.items("]", "list"):
            yield self.value()
            self.count += 1

    def object_items(self) -> Iterator[tuple[str | None, Any]]:
        """Yield the members of the object that starts here, lists element by element."""
        for _ in self.items("}", "object"):
            if self.peek() != '"':
                raise self.error("expected a name in quotes")
            name = self.value()
            if self.peek() != ":":
                raise self.error("expected a colon")
            self.position += 1
            if self.peek() == "[":
                self.count = 0
                for element in self.list_items():
                    yield name, element
            else:
                yield name, self.value()

    def items(self, closing: str, kind: str) -> Iterator[None]:
        """Yield before every item of the list or object that starts here, and move past its end."""
        self.position += 1
        if self.peek() == closing:
            self.position += 1
            return
        while True:
            yield
            following = self.peek()
            if following not in (",", closing):
                raise self.error(f"expected a comma or the end of the {kind}")
            self.position += 1
            if following == closing:
                return

    def check_end(self, kind: str) -> None:
        """Raise ``InputError`` unless only whitespace is left in the file."""
        if extra := self.peek():
            hint = "; this looks like JSON lines, expected one document" if extra in "{[" else ""
            raise self.error(f"unexpected data after the end of the {kind}{hint}")

    def read(self) -> bool:
        """Read at least as much as the window holds; return whether there was more to read."""
        self.dropped += self.position
        self.text, self.position = self.text[self.position :], 0
        more = self.file.read(max(self.chunk, len(self.text)))
        self.text += more
        return bool(more)

    def peek(self) -> str:
        """Skip whitespace and return the next character, or "" at the end of the file."""
        while True:
            whitespace = _WHITESPACE.match(self.text, self.position)
            self.position = whitespace.end() if whitespace else self.position
            if self.position < len(self.text):
                return self.text[self.position]
            if not self.read():
                return ""

    def value(self) -> Any:
        """Decode the next value."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                if not self.read():
                    self.position = error.pos - (len(error.doc) - len(self.text))
                    raise self.error(error.msg) from None
                continue
            remaining = len(self.text) - end
            if self.text[end : end + 1] not in _DELIMITERS and self.read():  # a number may continue
                continue
            self.position = len(self.text) - remaining
            return value

    def error(self, problem: str) -> InputError:
        """Return the error for a problem at the current position."""
        at_end = self.position >= len(self.text) and not self.file.read(1)
        found = "the end of the file" if at_end else repr(self.text[self.position : self.position + 20])
        return InputError(
            f"{self.path}: not valid JSON: {problem} at character {self.dropped + self.position} "
            f"(element {self.count} of the list), found {found}"
        )
