"""The help of ``bua`` and of its commands, made from the headers and comments of the configurations."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bua.cli.arguments import FLAGS
from bua.cli.configurations import (
    Composed,
    Key,
    compose_keys,
    conf_folder,
    list_options,
    read_config_file,
)
from bua.cli.docstrings import argument_comments

#: Options that ``bua COMMAND --help`` lists.
_LISTED = ("--help", "--cfg", "--resolve", "--multirun", "--config-dir", "--shell-completion", "--version")
_INDENT = "  "


def usage(commands: dict[str, str], family: str = "") -> str:
    """Return the help text of ``bua`` or of one family of commands.

    Args:
        commands: Descriptions of all commands.
        family: First word of the commands of the family. Default: all commands.
    """
    width = max(map(len, commands)) + 2
    shown = {name: text for name, text in commands.items() if not family or name.split()[0] == family}
    return "\n".join(
        [
            "usage: bua COMMAND key=value ...",
            "",
            "Bottom-up attention: from images to regions to captions and answers.",
            "",
            *(f"  {name:{width}}{text}" for name, text in shown.items()),
            "",
            "bua COMMAND --help              explains a command and its keys, with examples",
            "bua COMMAND --cfg job           prints its configuration",
            'eval "$(bua -sc install=bash)"  completes commands, keys and values with TAB; or zsh, fish',
            "trust=[PACKAGE]                 lets a command use classes of a package of your own",
            "BUA_TRACEBACK=1                 shows the traceback of an error",
        ]
    )


def command_help(name: str, summary: str, words: Sequence[str], folders: Sequence[Path] = ()) -> str:
    """Return the help text of a command.

    Args:
        name: Name of its configuration.
        summary: What it does, in one line.
        words: Words of the command line, which may choose the options of groups.
        folders: Further folders of configurations.

    Raises:
        InputError: If an option of a group does not exist.
    """
    width = max(60, min(shutil.get_terminal_size().columns, 120))
    composed = compose_keys(name, words, folders)
    header = read_config_file(conf_folder() / f"{name}.yaml").header
    lines = _usage_lines(header)
    lines += ["", *_wrap(f"{summary[0].upper()}{summary[1:]}.", width)]
    description = [line for line in header if not line.startswith(("bua ", "  "))]
    lines += [line for paragraph in _paragraphs(description) for line in ("", *_wrap(paragraph, width))]
    examples = [line.strip() for line in header if line.startswith("  ")]
    if examples:
        lines += ["", "examples:", *(f"{_INDENT}{line}" for line in examples)]
    top = [(key, value) for key, value in composed.keys.items() if not value.below and key[0] != "_"]
    if top:
        lines += ["", "keys (??? must be given):", *_key_lines(top, width)]
    if composed.groups:
        lines += ["", "groups (NAME=OPTION; with --help, the keys of that option are shown):"]
        lines += _group_lines(composed, width)
    for title, keys in _nested(composed):
        lines += ["", f"{title}:", *_key_lines(keys, width)]
    if "monitor" in composed.keys:
        lines += ["", "metrics, for monitor=:", *_metric_lines(composed.folders, width)]
    lines += ["", "options:", *_flag_lines(width)]
    return "\n".join(lines)


def _usage_lines(header: list[str]) -> list[str]:
    uses = [line for line in header if line.startswith("bua ")]
    return [f"{'usage:' if n == 0 else '      '} {line}" for n, line in enumerate(uses)]


def _paragraphs(lines: Iterable[str]) -> list[str]:
    text = "\n".join(lines).strip()
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


def _rows(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Yield two columns; the left one is as wide as most of its texts, up to 36 characters."""
    rows = list(rows)
    left = min(max((len(name) for name, _ in rows), default=0), 36)
    for name, text in rows:
        wrapped = _wrap(text, width - left - 4) or [""]
        if len(name) > left:
            yield f"{_INDENT}{name}"
            if not text:
                continue
        else:
            yield f"{_INDENT}{name:{left}}  {wrapped.pop(0)}".rstrip()
        for line in wrapped:
            yield f"{_INDENT}{'':{left}}  {line}".rstrip()


def _key_lines(keys: Iterable[tuple[str, Key]], width: int) -> Iterator[str]:
    return _rows(((f"{name}={key.value}", key.comment) for name, key in keys), width)


def _group_lines(composed: Composed, width: int) -> Iterator[str]:
    def options(group: str) -> str:
        return ", ".join(composed.options(group))

    return _rows(((f"{g}={name or 'null'}", options(g)) for g, name in composed.groups.items()), width)


def _nested(composed: Composed) -> Iterator[tuple[str, list[tuple[str, Key]]]]:
    """Yield a title and the dotted keys of every top-level key that has keys below it."""
    for name, key in composed.keys.items():
        if not key.below:
            continue
        option = composed.groups.get(name)
        keys = list(_leaves(name, key))
        if keys:
            yield (f"keys of {name}={option}" if option else f"keys of {name}"), keys


def _leaves(path: str, key: Key) -> Iterator[tuple[str, Key]]:
    comments = argument_comments(key.target) if key.target else {}
    for name, below in key.below.items():
        comment = below.comment or comments.get(name, "") or key.comment
        if below.below:
            yield from _leaves(f"{path}.{name}", replace(below, comment=comment))
        elif below.value:  # otherwise there is only a class
            yield f"{path}.{name}", Key(below.value, comment)


def _metric_lines(folders: Sequence[Path], width: int) -> Iterator[str]:
    rows = []
    for option in list_options(folders, "objective"):
        file = next(f for folder in folders if (f := folder / "objective" / f"{option}.yaml").exists())
        monitor = read_config_file(file).keys.get("monitor")
        if monitor is not None:
            rows.append((f"objective={option}", monitor.comment))
    return _rows(rows, width)


def _flag_lines(width: int) -> Iterator[str]:
    rows = []
    for name in _LISTED:
        flag = FLAGS[name]
        short = f"{flag.short}, " if flag.short else ""
        rows.append((f"{short}{name}{' ' + flag.value if flag.value else ''}", flag.text))
    return _rows(rows, width)
