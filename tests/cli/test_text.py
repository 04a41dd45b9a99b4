"""Any text is a value on the command line, in keys of the command, in dotted keys, in lists and in sweeps."""

from dataclasses import dataclass
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bua.cli.text import quote, quote_words, unquote
from tests.helpers.commands import run_error

ODD = [
    "[what] is this?",
    '"stop" is written where?',
    "'tis the red one?",
    "what is ${color}?",
    "[2023] beach.png",
    "c${x}.png",
    "cap=1.json",
    "ünï/val（1）.txt",
    "a, b",
    "C:\\photos\\",
    "null",
    "true",
    "12",
    "{a: 1}",
    " ",
]
TEXT = st.text(st.sampled_from("a '\"\\${}[](),=:#~+\nü（"), min_size=1)


@dataclass
class Options:
    """Keys of different types."""

    text: str
    optional: str | None
    many: str | list[str]
    number: int


def parsed(word: str) -> Any:
    """Return the value that a configuration has after an override."""
    return OmegaConf.create({"value": OverridesParser.create().parse_override(word).value()}).value


def value_of(word: str) -> Any:
    [quoted] = quote_words([word], Options, {"known"}, multirun=False)
    return parsed(quoted)


@given(TEXT)
@example("\\${x}")
@example("x\\")
def test_a_quoted_text_is_read_as_it_is_and_can_be_shown_as_typed(text: str) -> None:
    assert parsed(f"key={quote(text, ())}") == text
    assert unquote(f"key={quote(text, ())}") == f"key={text}"


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_values_of_keys_that_take_a_text(text: str) -> None:
    assert value_of(f"text={text}") == text
    if text != "null":
        assert value_of(f"optional={text}") == text
        assert value_of(f"many={text}") == text


def test_null_is_none_only_where_the_key_may_be_none() -> None:
    assert value_of("optional=null") is None
    assert value_of("text=null") == "null"


def test_quotes_and_existing_interpolations_keep_their_meaning() -> None:
    assert value_of("text='a b'") == value_of('text="a b"') == "a b"
    assert quote_words(["text=${known}/x"], Options, {"known"}, multirun=False) == ["text='${known}/x'"]
    assert quote_words(["text=${now:%Y}"], Options, (), multirun=False) == ["text='${now:%Y}'"]


def test_items_of_lists_are_texts() -> None:
    assert list(value_of("many=[v=1,b]")) == ["v=1", "b"]
    assert list(value_of("many=['a, b',c]")) == ["a, b", "c"]
    assert list(value_of("other=[v=1,b]")) == ["v=1", "b"]


def test_values_of_other_keys_keep_their_types_unless_hydra_cannot_read_them() -> None:
    assert value_of("number=3") == 3
    assert value_of("a.b=1e-3") == 1e-3
    assert list(value_of("a.b=[1,2]")) == [1, 2]
    assert value_of("data.train=cap=1.json") == "cap=1.json"
    assert value_of("data.train=a（1）.json") == "a（1）.json"
    assert value_of("data.train=a,b.json") == "a,b.json"


def test_in_a_sweep_commas_separate_values_and_texts_are_quoted() -> None:
    words = ["text=cap=1.json", "optimizer.lr=1e-3,2e-3", "optional=ü（1）.txt,b=2", "text=a,b"]
    assert quote_words(words, Options, (), multirun=True) == [
        "text='cap=1.json'",
        "optimizer.lr=1e-3,2e-3",
        "optional='ü（1）.txt','b=2'",
        "text=a,b",
    ]


@pytest.mark.parametrize("text", [text for text in ODD if text.strip()])
def test_a_command_gets_the_text(text: str, capfd) -> None:
    line = run_error(capfd, "features", "info", f"file={text}")
    assert line.startswith(f"bua features info: {' '.join(text.split())}: ")
