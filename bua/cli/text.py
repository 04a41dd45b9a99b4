"""Texts of the command line: what is typed is a value, and what is printed is not obeyed by a terminal.

Hydra reads ``[``, quotes, ``$``, ``=`` and commas as grammar. The value of a key whose type is a text, or a
list of texts, is quoted for it; that of another key is quoted if Hydra could not read it.

Control characters of file names and texts are written out, and a closed standard output is survived.
"""

import contextlib
import difflib
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TextIO

#: Control characters, which a terminal obeys, and halves of characters, which no file can hold.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def did_you_mean(word: str, words: Collection[str]) -> str:
    """Return a question about the word that is most similar, or nothing if none is."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


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


#: Value that is in quotes as a whole.
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
#: Interpolation of a resolver, such as ${now:%Y}, or of a key, such as ${scenes}.
_INTERPOLATION = re.compile(r"\$\{(?:(?:now|hydra|oc\.\w+):|([\w.]+)\})")
_NUMBERS = re.compile(r"[-+.\deE,\s]+")


def type_kinds(hint: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union type such as ``int | None``."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def quote_words(words: list[str], schema: type[Any], keys: Collection[str], *, multirun: bool) -> list[str]:
    """Quote the values of overrides for Hydra.

    Args:
        words: Words of the command line after the command.
        schema: Dataclass of the command, whose field types tell which keys take a text.
        keys: Keys of the configuration, for interpolations such as ``${scenes}``, which stay interpolations.
        multirun: Whether the words describe a sweep, in which commas separate values.
    """
    kinds = {name: type_kinds(hint) for name, hint in typing.get_type_hints(schema).items()}
    return [_quote_word(word, kinds, keys, multirun) for word in words]


def _quote_word(
    word: str, kinds: Mapping[str, tuple[Any, ...]], keys: Collection[str], multirun: bool
) -> str:
    key, equals, value = word.partition("=")
    if not equals or not value or key.startswith(("-", "~")):
        return word
    kind = kinds.get(key.lstrip("+"), ())
    if str in kind and not multirun:
        if (value == "null" and types.NoneType in kind) or _QUOTED.fullmatch(value):
            return word
        is_list = list[str] in kind and value.startswith("[") and value.endswith("]")
        is_list = is_list and not os.path.exists(value)
        return f"{key}={_quote_list(value, keys) if is_list else quote(value, keys)}"
    if _is_readable(word, value, multirun):
        return word
    if value.startswith("[") and value.endswith("]"):
        return f"{key}={_quote_list(value, keys)}"
    parts = _split(value) if multirun else [value]
    return f"{key}={','.join(part if _QUOTED.fullmatch(part) else quote(part, keys) for part in parts)}"


def _is_readable(word: str, value: str, multirun: bool) -> bool:
    """Return whether Hydra reads a word as a value, or, in a sweep or for numbers, as several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    is_function = "(" in value
    return multirun or is_function or not override.is_sweep_override() or bool(_NUMBERS.fullmatch(value))


def quote(value: str, keys: Collection[str]) -> str:
    """Return a text in quotes; what looks like an interpolation is text unless its key or resolver exists."""

    def escape(match: re.Match[str]) -> str:
        rest = _INTERPOLATION.match(value, match.start(2))
        exists = rest is not None and (rest[1] is None or rest[1].split(".")[0] in keys)
        return match[0] if exists else rf"{match[1] * 2}\${{"

    escaped = re.sub(r"(\\*)(\$\{)", escape, value)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", escaped) + "\\" * trailing
    return f"'{escaped}'"


def unquote(word: str) -> str:
    """Return an override that ``quote_words`` may have quoted as it was typed."""
    key, equals, value = word.partition("=")
    if not equals or not _QUOTED.fullmatch(value) or value[0] != "'":
        return word
    text = re.sub(r"(\\+)(?='|\$\{|\Z)", lambda match: match[1][: len(match[1]) // 2], value[1:-1])
    return f"{key}={text}"


def _quote_list(value: str, keys: Collection[str]) -> str:
    """Quote the items of a list in brackets, except for those that are quoted already."""
    items = [item.strip() for item in _split(value[1:-1])]
    return f"[{','.join(item if _QUOTED.fullmatch(item) else quote(item, keys) for item in items if item)}]"


def _split(text: str) -> list[str]:
    """Split at commas outside of quotes."""
    return re.findall(r"""((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,])+)""", text)
