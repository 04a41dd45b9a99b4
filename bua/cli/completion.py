"""Completion with TAB in bash, zsh and fish: commands, options, keys, groups, values and file names.

``eval "$(bua -sc install=bash)"`` installs it. At every TAB the shell runs ``bua -sc query=bash``, which
reads the configurations without Hydra (see ``bua.cli.configurations``): it takes about a tenth of a second.
"""

import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from bua.cli.arguments import FLAGS, split_arguments
from bua.cli.configurations import Composed, Key, compose_keys
from bua.errors import InputError

_BASH = """\
_bua_complete() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
             "${1/#\\~/$HOME}" -sc query=bash 2>/dev/null)
}
complete -o nospace -F _bua_complete bua
"""
_ZSH = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_bua() {
    local word line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    local -a whole begun
    for word in "${(@f)$(COMP_LINE=$line ${(Q)words[1]} -sc query=zsh 2>/dev/null)}"; do
        case $word in
            "") ;;
            *[=./]) begun+=("$word") ;;
            *) whole+=("$word") ;;
        esac
    done
    (( $#begun )) && compadd -S '' -a begun
    (( $#whole )) && compadd -a whole
}
compdef _bua bua
"""
_FISH = """\
function __bua_complete
    set -lx COMP_LINE (commandline -cp | string collect)
    bua -sc query=fish 2>/dev/null
end
complete -c bua -f -a '(__bua_complete)'
"""
#: Scripts that install and uninstall completion.
SCRIPTS: dict[str, tuple[str, str]] = {
    "bash": (_BASH, "complete -r bua; unset -f _bua_complete\n"),
    "zsh": (_ZSH, "compdef -d bua; unfunction _bua\n"),
    "fish": (_FISH, "complete -c bua -e; functions -e __bua_complete\n"),
}
_NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?")
#: Characters that have no meaning for bash in a word.
_PLAIN = re.compile(r"[\w@%+=:,./\[\]~-]", re.ASCII)


def answer(
    request: str,
    commands: Collection[str],
    environment: Mapping[str, str],
    positional: Collection[str] = (),
) -> str:
    """Return what ``-sc`` prints.

    Args:
        request: ``install=SHELL``, ``uninstall=SHELL`` or ``query=SHELL``.
        commands: Names of the commands.
        environment: Environment variables; a query has the line in ``COMP_LINE`` and, if the cursor is not at
            its end, the number of bytes before it in ``COMP_POINT``.
        positional: Commands whose first word may be a path. Default: none.
    """
    action, _, shell = request.partition("=")
    if action != "query":
        return SCRIPTS[shell][action == "uninstall"]
    line = environment.get("COMP_LINE", "").encode()
    line_before = line[: int(environment.get("COMP_POINT") or len(line))].decode(errors="ignore")
    words, current, quote = split_line(line_before)
    found = complete(words[1:], current, commands, positional)
    if shell == "bash":
        breaks = environment.get("COMP_WORDBREAKS", "=:")
        found = [_for_bash(word, current, quote, breaks) for word in found]
    return "".join(f"{word}\n" for word in found)


def split_line(line: str) -> tuple[list[str], str, str]:
    """Return the words before the last one, the last one, and the quote that it is in, if any."""
    for quote in ("", "'", '"'):
        try:
            words = shlex.split(line + quote)
        except ValueError:
            continue
        if not quote and (not words or line[-1].isspace()):
            return words, "", ""
        return words[:-1], words[-1], quote
    words = line.split(" ")
    return words[:-1], words[-1], ""


def _for_bash(word: str, current: str, quote: str, breaks: str) -> str:
    """Return the part of a word that bash replaces, and a space if the word is complete."""
    start = max((current.rfind(c) + 1 for c in "=:" if c in breaks), default=0)
    rest = word[start:]
    if not quote:
        typed = current[start:]
        kept = len(re.match(r"[\[{]*", typed)[0]) if typed else 0  # type: ignore[index]
        rest = rest[:kept] + "".join(c if _PLAIN.match(c) else f"\\{c}" for c in rest[kept:])
    return rest if word.endswith(("=", ".", "/")) else f"{rest}{quote} "


def complete(
    words: Sequence[str], current: str, commands: Collection[str], positional: Collection[str] = ()
) -> list[str]:
    """Return the words that the last word of a command line may become.

    Args:
        words: Words after ``bua`` and before the last one.
        current: The last word, as far as it is typed.
        commands: Names of the commands.
        positional: Commands whose first word may be a path. Default: none.
    """
    previous = words[-1] if words else ""
    if current.startswith("-") and "=" not in current:
        return [name for name in FLAGS if name.startswith(current)]
    try:
        arguments = split_arguments(words)
    except InputError:  # the value of the last option is missing
        flag = next((f for name, f in FLAGS.items() if previous in (name, f.short)), None)
        return [value for value in (flag.choices if flag else ()) if value.startswith(current)]
    length = next((n for n in (2, 1) if " ".join(arguments.words[:n]) in commands), 0)
    if not length:
        return _complete_command(arguments.words, current, commands)
    folder = arguments.flags.get("--config-dir")
    name = arguments.flags.get("--config-name", "_".join(arguments.words[:length]).replace("-", "_"))
    given = arguments.words[length:]
    try:
        composed = compose_keys(name, given, [Path(folder)] if folder else [])
    except InputError:  # an option that does not exist
        composed = compose_keys(name)
    key, equals, value = current.partition("=")
    if equals:
        return [f"{key}={found}" for found in _complete_value(composed, key.lstrip("+~"), value)]
    takes_path = not given and " ".join(arguments.words[:length]) in positional
    paths = list(_complete_path(current)) if takes_path else []
    return paths + _complete_key(composed, current, {word.partition("=")[0] for word in given})


def _complete_command(words: Sequence[str], current: str, commands: Collection[str]) -> list[str]:
    """Return the next words of commands."""
    start = list(words)
    pairs = [command.split() for command in commands]
    found = [pair[len(start)] for pair in pairs if pair[: len(start)] == start and len(pair) > len(start)]
    return [word for word in dict.fromkeys(found) if word.startswith(current)]


def _complete_key(composed: Composed, current: str, given: Collection[str]) -> list[str]:
    """Return groups, and keys one level below what is typed."""
    sign = current[: len(current) - len(current.lstrip("+~"))]
    typed = current[len(sign) :]
    parent, dot, _ = typed.rpartition(".")
    above = composed.find(parent) if dot else Key(below=composed.keys)
    found = [f"{group}=" for group in composed.groups] if not dot or "@" in typed else []
    for name, key in (above.below if above else {}).items():
        if not name.startswith("_"):
            found.append(f"{parent}{dot}{name}{'.' if key.below else '='}")
    return [f"{sign}{word}" for word in found if word.startswith(typed) and word[:-1] not in given]


def _complete_value(composed: Composed, key: str, value: str) -> Iterator[str]:
    """Yield the values of a key, the last one if it takes several."""
    start = max(value.rfind(c) for c in "[,") + 1
    before, last = value[:start], value[start:]
    found = composed.find(key)
    if key in composed.groups or composed.options(key):
        choices = composed.options(key)
    elif found is None or _NUMBER.fullmatch(found.value):
        return
    elif found.choices:
        choices = found.choices
    else:
        choices = list(_complete_path(last))
    yield from (f"{before}{choice}" for choice in choices if choice.startswith(last))


def _complete_path(typed: str) -> Iterator[str]:
    """Yield the files and folders that a path may become; hidden ones only if a dot is typed."""
    folder, slash, name = typed.rpartition("/")
    try:
        entries = sorted(os.scandir(f"{folder}{slash}" or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(name) and (name.startswith(".") or not entry.name.startswith(".")):
            yield f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}"
