"""The words of a command line: options such as ``--cfg job`` may stand anywhere among the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from bua.cli.text import did_you_mean
from bua.errors import InputError


@dataclass(frozen=True)
class Flag:
    """An option of the command line, which is handed to Hydra unless it is handled here.

    Attributes:
        short: Its short form.
        text: What it does.
        value: Placeholder of its value; empty if it takes none.
        default: Value if none is given; ``None`` if one must be given.
        choices: Values that it takes; empty for any.
    """

    short: str
    text: str
    value: str = ""
    default: str | None = None
    choices: tuple[str, ...] = ()


INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
SHELLS = ("bash", "zsh", "fish")
FLAGS = {
    "--help": Flag("-h", "show this"),
    "--cfg": Flag("-c", "print the configuration instead of running", "WHAT", None, ("job", "hydra", "all")),
    "--resolve": Flag("", "with --cfg: print values instead of interpolations such as ${out}"),
    "--package": Flag("-p", "with --cfg: print only what is below a key", "KEY"),
    "--multirun": Flag("-m", "run once for each value of keys with several values, separated by commas"),
    "--run": Flag("-r", "run once, which is the default"),
    "--config-dir": Flag("-cd", "folder of configurations of your own, searched as well", "DIR"),
    "--config-name": Flag("-cn", "configuration in it to use instead of that of the command", "NAME"),
    "--config-path": Flag("-cp", "folder of configurations, searched instead of those of bua", "DIR"),
    "--info": Flag("-i", "show how the configuration is composed", "WHAT", "all", INFO),
    "--shell-completion": Flag(
        "-sc",
        "print a script that makes TAB complete commands, keys and values",
        "install=SHELL",
        None,
        tuple(f"{action}={shell}" for action in ("install", "uninstall", "query") for shell in SHELLS),
    ),
    "--version": Flag("-V", "show the version"),
    "--hydra-help": Flag("", "show the help of Hydra"),
    "--experimental-rerun": Flag("", "rerun the job of a pickled configuration", "FILE"),
}
#: Options of which only one may be given.
_ACTIONS = ("--cfg", "--multirun", "--run", "--info", "--hydra-help")
_LONG = {flag.short: name for name, flag in FLAGS.items() if flag.short}


@dataclass(frozen=True)
class Arguments:
    """The words of a command line.

    Attributes:
        words: Words that are not options, in their order: the command and overrides.
        flags: Options by their long names, with their values; those without a value have an empty one.
    """

    words: list[str]
    flags: dict[str, str]

    def for_hydra(self) -> list[str]:
        """Return the options as Hydra reads them: before the overrides, and each one word."""
        return [f"{name}={value}" if FLAGS[name].value else name for name, value in self.flags.items()]


def split_arguments(words: Sequence[str]) -> Arguments:
    """Separate the options of a command line from its other words.

    Args:
        words: Words after ``bua``.

    Raises:
        InputError: If there is no such option, or its value is missing or not one that it takes.
    """
    rest: list[str] = []
    flags: dict[str, str] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        given, equals, value = word.partition("=")
        name = _LONG.get(given, given)
        if name not in FLAGS:
            hint = did_you_mean(given, FLAGS) or f"; the options are {', '.join(FLAGS)}"
            raise InputError(f"there is no option {given}{hint}")
        flags[name] = _read_value(name, value if equals else None, waiting)
    actions = [name for name in _ACTIONS if name in flags]
    if len(actions) > 1:
        raise InputError(f"{' and '.join(actions)} exclude each other; give one of them")
    return Arguments(rest, flags)


def _read_value(name: str, value: str | None, waiting: list[str]) -> str:
    """Return the value of an option, which may be the next word."""
    flag = FLAGS[name]
    if not flag.value:
        if value is not None:
            raise InputError(f"{name}={value}: {name} takes no value")
        return ""
    if value is None and waiting and not waiting[0].startswith("-"):
        fits = waiting[0] in flag.choices if flag.choices else True
        if fits or flag.default is None:
            value = waiting.pop(0)
    value = flag.default if value is None else value
    if value is None:
        raise InputError(f"{name} needs a value: {' or '.join(flag.choices) or flag.value}")
    if flag.choices and value not in flag.choices:
        raise InputError(f"{name} {value}: must be {' or '.join(flag.choices)}")
    return value


def check_overrides(words: Sequence[str], names: Sequence[str]) -> None:
    """Raise ``InputError`` if a word after the command is not an override.

    Args:
        words: Words after the command.
        names: Words that may have been meant, such as ``experiment=caption_scenes``.
    """
    for word in words:
        if "=" in word or word.startswith("~"):
            continue
        meant = next((name for name in names if name.endswith(f"={word}")), None)
        hint = f"; did you mean {meant!r}?" if meant else did_you_mean(f"{word}=", names)
        raise InputError(f"{word!r}: must be KEY=VALUE{hint}")
