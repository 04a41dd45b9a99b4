"""Reading a long JSON file piece by piece, so that a file of a gigabyte needs a few megabytes."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from bua.errors import InputError

CHUNK = 1 << 22  # characters
_SPACE = re.compile(r"[ \t\n\r]*")
#: What may stand behind a whole element.
_ENDS = frozenset(" \t\n\r,]}:")
_DECODER = json.JSONDecoder()


def elements(path: Path, chunk: int = CHUNK) -> Iterator[Any]:
    """Give the elements of the list that a JSON file is, in their order.

    Args:
        path: a JSON file, UTF-8.
        chunk: characters read at once.

    Raises:
        InputError: there is no such file, or it is not a list in JSON; the place is named.
    """
    yield from _read(path, chunk, lambda reader: reader.elements())


def members(path: Path, chunk: int = CHUNK) -> Iterator[tuple[str | None, Any]]:
    """Give the members of the object that a JSON file is, with their names; of lists, every element.

    The elements of a list that is the whole file have no name, which is ``None``.

    Args:
        path: a JSON file, UTF-8.
        chunk: characters read at once.

    Raises:
        InputError: there is no such file, or it is neither a list nor an object in JSON; the place is named.
    """
    yield from _read(path, chunk, lambda reader: reader.members())


def _read(path: Path, chunk: int, pieces: Callable[["_Reader"], Iterator[Any]]) -> Iterator[Any]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from pieces(_Reader(path, file, chunk))
    except FileNotFoundError:
        packed = path.with_name(f"{path.name}.zip")
        hint = f"; unpack {packed.name}" if packed.exists() else ""
        raise InputError(f"{path}: there is no such file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    except RecursionError:
        raise InputError(f"{path}: not JSON: nested too deeply") from None
    except InputError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{path}: not JSON: {error}") from None


class _Reader:
    """A window on the text of a file: what was decoded leaves it, what is needed is read into it."""

    def __init__(self, path: Path, file: TextIO, chunk: int) -> None:
        self.path, self.file, self.chunk = path, file, chunk
        self.text, self.at = "", 0
        self.before = 0  # characters that have left the window
        self.count = 0  # elements given

    def elements(self) -> Iterator[Any]:
        """Give every element of a file that is a list."""
        if self.next_mark() != "[":
            raise self.wrong("a list was expected")
        yield from self.list_items()
        self.end("list")

    def members(self) -> Iterator[tuple[str | None, Any]]:
        """Give every element of a file that is a list, or every member of one that is an object."""
        mark = self.next_mark()
        if mark == "[":
            for element in self.list_items():
                yield None, element
            self.end("list")
        elif mark == "{":
            yield from self.object_items()
            self.end("object")
        else:
            raise self.wrong("a list or an object was expected")

    def list_items(self) -> Iterator[Any]:
        """Give every element of the list that begins here."""
        for _ in self.items("]", "list"):
            yield self.value()
            self.count += 1

    def object_items(self) -> Iterator[tuple[str | None, Any]]:
        """Give every member of the object that begins here, a list element by element."""
        for _ in self.items("}", "object"):
            if self.next_mark() != '"':
                raise self.wrong("a name in quotes was expected")
            name = self.value()
            if self.next_mark() != ":":
                raise self.wrong("a colon was expected")
            self.at += 1
            if self.next_mark() == "[":
                self.count = 0
                for element in self.list_items():
                    yield name, element
            else:
                yield name, self.value()

    def items(self, last: str, what: str) -> Iterator[None]:
        """Stop before every item of a list or an object that begins here, and go behind its end."""
        self.at += 1
        if self.next_mark() == last:
            self.at += 1
            return
        while True:
            yield
            mark = self.next_mark()
            if mark not in (",", last):
                raise self.wrong(f"a comma or the end of the {what} was expected")
            self.at += 1
            if mark == last:
                return

    def end(self, what: str) -> None:
        """Go to the end of the file."""
        if more := self.next_mark():
            hint = "; it looks like JSON lines, one document is needed" if more in "{[" else ""
            raise self.wrong(f"there is more after the end of the {what}{hint}")

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
