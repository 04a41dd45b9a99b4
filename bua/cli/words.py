"""Words of the command line: any text is a value of a key that takes a text, without Hydra's own quotes.

Hydra reads ``[``, quotes, ``$``, ``=`` and commas as grammar. The value of a key whose type is a text, or a
list of texts, is quoted for it; that of another key is quoted if Hydra could not read it.
"""

import re
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

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
        return f"{key}={_quote_list(value, keys) if is_list else quote(value, keys)}"
    if _is_readable(word, value, multirun):
        return word
    if value.startswith("[") and value.endswith("]"):
        return f"{key}={_quote_list(value, keys)}"
    parts = _split(value) if multirun else [value]
    return f"{key}={','.join(part if _QUOTED.fullmatch(part) else quote(part, keys) for part in parts)}"


def _is_readable(word: str, value: str, multirun: bool) -> bool:
    """Return whether Hydra reads a word as a value, or, in a sweep or for numbers, as several."""
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
