"""The command line: the list of commands, running one with Hydra, and one-line error messages.

The YAML file of a command contains the default values and describes its keys. The dataclass ``Options`` of
its module defines their types and minimum values: ``read_options`` checks a composed configuration against
them, and ``bua.cli.text`` quotes their values for Hydra.

Hydra and torch are imported when a command runs, so that ``bua --help`` is fast.
"""

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from bua.cli import help as help_texts
from bua.cli.arguments import check_overrides, split_arguments
from bua.cli.configurations import compose_keys
from bua.cli.logs import configure_logging
from bua.cli.mistakes import explain
from bua.cli.options import FollowUp, read_options
from bua.cli.shortage import describe_shortage
from bua.cli.text import did_you_mean, printable_output, quote_words
from bua.cli.trust import command_line_trust, refuse_configured_trust
from bua.engine.trust import VARIABLE, describe_plugin_error
from bua.errors import InputError, LostProcessError
from bua.io.processes import end_with_launcher

#: Descriptions of the commands; a command of two words belongs to the family of its first word.
COMMANDS = {
    "quickstart": "run the whole pipeline on synthetic scenes, from images to a report: out=DIR",
    "scenes": "write the synthetic data set in the formats of COCO, VQA v2 and Visual Genome: out=DIR",
    "extract": "extract region features of images: images=DIR_OR_LIST_OR_COCO_JSON out=F.h5",
    "detect": "detect objects in images, as JSON and drawn into the images: images=PHOTO_OR_DIR out=DIR",
    "features info": "describe a feature store: file=F.h5",
    "features check": "find damage in a feature store: file=F.h5",
    "features import": "convert a feature file of another project: format=NAME source=PATH out=F.h5",
    "features export": "convert to the format of another project: format=NAME file=F.h5 out=PATH",
    "features merge": "merge feature stores of one detector: files=[a.h5,b.h5] out=F.h5",
    "captions check": "find mistakes in a caption file: file=F.json",
    "captions constraints": "write detected objects as words for captions: features=F.h5 out=C.json",
    "questions check": "find mistakes in a file of questions: file=F.json",
    "prepare-vg": "convert Visual Genome for training a detector: source=DIR out=DIR captions=F.json",
    "train": "train a captioner, a VQA model or a detector: experiment=NAME",
    "sweep status": "show how far a sweep (bua train -m) has come: DIR",
    "sweep resume": "go on with a sweep that was interrupted, and try again what failed: DIR",
    "sweep table": "show the results of a sweep, or write and draw them: DIR",
    "predict": "predict captions or answers of a data set in the official format: run=DIR out=P.json",
    "evaluate": "compute the average precision of a detector: instances=F.json images=DIR",
    "score": "compute the official scores of predictions: task=caption|vqa predictions=P.json ...",
    "submit": "check predictions and write them for a test server: task=caption|vqa predictions=P.json out=F",
    "caption": "describe images: run=DIR images=PHOTO_OR_DIR",
    "ask": "answer a question about images: run=DIR images=PHOTO_OR_DIR question=TEXT",
    "export-detector": "export a trained detector for bua extract: run=DIR out=F.safetensors",
    "doctor": "show what is available on this machine: torch, devices, Java, free space",
}

#: Keys whose value is the first word of a command if it is not an override.
POSITIONAL = {"sweep status": "sweep", "sweep resume": "sweep", "sweep table": "sweep"}
#: First words of the commands of two words.
FAMILIES = frozenset(command.partition(" ")[0] for command in COMMANDS if " " in command)
#: Environment variable that tells processes started by Lightning which command to run.
COMMAND_VARIABLE = "BUA_COMMAND"
#: Value that Hydra does not read as the name of an option of a group.
_NO_NAME = re.compile(r"=(null|true|false|[-+\d.e]+)$", re.IGNORECASE)
#: How long an idle thread of GNU OpenMP, which torch computes with on Linux, spins before it sleeps. The
#: default of milliseconds slows down all other threads if there are more threads than cores:
#: experiments/speed/busy.py measures how much.
SPIN_COUNT = "5000"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    The code is 0, 2 after a user error or if the standard output is full, 130 after an interruption, and 141
    if the reader of the standard output has closed it, as for a program that the system ends for that reason.
    """
    end_with_launcher()
    with printable_output() as output:
        code = _main(list(sys.argv[1:] if arguments is None else arguments))
    if output.failure is None or code:
        return code
    if isinstance(output.failure, BrokenPipeError):
        return 141
    return _fail("bua", f"standard output: {output.failure.strerror}; the results in files are complete")


def _main(words: list[str]) -> int:
    if words and words[0] == "help":
        words[0] = "--help"
    try:
        arguments = split_arguments(words)
    except InputError as error:
        return _fail("bua", str(error))
    names, flags = arguments.words, arguments.flags
    if "--version" in flags or names == ["version"]:
        from bua import __version__

        return _print(f"bua {__version__}")
    if "--shell-completion" in flags:
        from bua.cli import completion

        sys.stdout.write(completion.answer(flags["--shell-completion"], COMMANDS, os.environ, POSITIONAL))
        return 0
    if not names or (names[0] in FAMILIES and len(names) == 1):
        return _print(help_texts.usage(COMMANDS, *names))
    if "LOCAL_RANK" in os.environ and "=" in names[0]:  # a process that Lightning started
        names.insert(0, os.environ.get(COMMAND_VARIABLE, names[0]))
    length = 2 if " ".join(names[:2]) in COMMANDS else 1
    command, overrides = " ".join(names[:length]), names[length:]
    if command not in COMMANDS:
        given = " ".join(names[:2] if names[0] in FAMILIES else names[:1])
        hint = did_you_mean(given, COMMANDS) or f"; the commands are {', '.join(COMMANDS)}"
        return _fail("bua", f"there is no command {given!r}{hint}")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read when torch is imported
    os.environ[COMMAND_VARIABLE] = command
    if command in POSITIONAL and overrides and ("=" not in overrides[0] or os.path.exists(overrides[0])):
        overrides[0] = f"{POSITIONAL[command]}={overrides[0]}"
    try:
        with command_line_trust(command, overrides) as others:
            if "--help" in flags:
                return _print(_help(command, others, flags))
            _check_overrides(command, others)
            following = _run(command, [*arguments.for_hydra(), *others])
            if isinstance(following, FollowUp):
                os.environ[COMMAND_VARIABLE] = command = following.command
                _run(command, following.words)
    except InputError as error:
        if os.environ.get("BUA_TRACEBACK"):
            raise
        return _fail(f"bua {command}", str(error), every_rank=isinstance(error, LostProcessError))
    except KeyboardInterrupt:
        return _fail(f"bua {command}", "interrupted", code=130)
    return 0


def _help(command: str, overrides: list[str], flags: Mapping[str, str]) -> str:
    folder = flags.get("--config-dir")
    summary = COMMANDS[command].partition(": ")[0]
    folders = [Path(folder)] if folder else []
    return help_texts.command_help(config_name(command), summary, overrides, folders)


def _check_overrides(command: str, overrides: list[str]) -> None:
    if all("=" in word or word.startswith("~") for word in overrides):
        return
    composed = compose_keys(config_name(command))
    options = [f"{group}={name}" for group in composed.groups for name in composed.options(group)]
    check_overrides(overrides, [*options, *(f"{key}=" for key in composed.keys)])


def _run(command: str, overrides: list[str]) -> Any:
    """Run a command and return what it returns.

    Raises:
        InputError: Also if the machine runs out of something, or for a mistake in a trusted package.
    """
    try:
        return run(command, overrides)
    except InputError:
        raise
    except Exception as error:
        plugin = describe_plugin_error(error)
        line = describe_shortage(error) or (plugin and f"{plugin} (BUA_TRACEBACK=1 shows the traceback)")
        if os.environ.get("BUA_TRACEBACK") or line is None:
            raise
        raise InputError(line) from error


def _print(text: str) -> int:
    print(text)
    return 0


def _fail(command: str, message: str, code: int = 2, *, every_rank: bool = False) -> int:
    is_first = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
    if is_first or every_rank:  # of several processes, the first usually speaks for all
        print(f"{command}: {' '.join(message.split())}", file=sys.stderr)
    return code


def run(command: str, overrides: list[str]) -> Any:
    """Compose the configuration of a command, run it, and return what it returns.

    Args:
        command: Name of the command, as it is typed.
        overrides: Arguments of the command line after it.

    Raises:
        InputError: If a key, a group or a value of the command line does not exist or is wrong.
    """
    import hydra
    from omegaconf import OmegaConf

    from bua.cli.resume import stored_run
    from bua.cli.search_path import register_search_path

    name = config_name(command)
    module = importlib.import_module(f"bua.cli.commands.{name}")
    configure_logging()  # after the import, which sets levels, too
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting
    is_multirun = "--multirun" in overrides
    raised: list[BaseException] = []
    returned: list[Any] = []
    trusted = os.environ.get(VARIABLE)
    register_search_path()

    @functools.wraps(module.main)
    def task(config: Any) -> Any:
        refuse_configured_trust(config, trusted)
        options = read_options(config, module.Options)
        if OmegaConf.select(config, "device") is not None:
            config.device = options.device = resolve_device(options.device)
        result = module.main(options)
        if not is_multirun:
            returned.append(result)
        return result

    source = stored_run(overrides) if command == "train" else None
    application = hydra.main(version_base="1.3", config_path="pkg://bua.conf", config_name=source or name)(
        task if is_multirun else _keep_errors(task, raised)
    )
    interpolates = any("${" in word for word in overrides)
    keys = {*compose_keys(name).keys, *(word.partition("=")[0] for word in overrides)} if interpolates else ()
    words = quote_words(overrides, module.Options, keys, multirun=is_multirun)
    argv = sys.argv
    try:
        with _sweep(overrides, words) if is_multirun and command == "train" else nullcontext(words) as words:
            sys.argv = [argv[0], *words]
            application()
        if raised:
            raise raised[0]
        return returned[0] if returned else None
    except _hydra_errors() as error:
        if os.environ.get("BUA_TRACEBACK"):
            raise
        raise InputError(explain(error, name, overrides, _folders(overrides))) from None
    except ValueError as error:  # of Hydra, about GROUP=null or GROUP=5
        if not str(error).startswith("Config group override"):
            raise
        composed = compose_keys(name)
        values = composed.keys.keys() - composed.groups.keys()
        given = (word for word in overrides if word.partition("=")[0].lstrip("+") not in values)
        word = next((word for word in given if _NO_NAME.search(word)), "a group")
        raise InputError(f"{word}: a group takes the name of one of its options") from None
    finally:
        sys.argv = argv


def _sweep(typed: list[str], words: list[str]) -> AbstractContextManager[list[str]]:
    from bua.cli.sweeps import prepared_sweep

    return prepared_sweep("train", typed, words)


def _folders(words: Sequence[str]) -> list[Path]:
    """Return the folder of ``--config-dir``, if it is among the words."""
    given = (word.partition("=")[2] for word in words if word.startswith("--config-dir="))
    return [Path(folder) for folder in given]


def config_name(command: str) -> str:
    """Return the name of a command's configuration, which is also that of its module."""
    return command.replace(" ", "_").replace("-", "_")


def resolve_device(name: str) -> str:
    """Return the name of a device; "auto" is a GPU if there is one, and the CPU otherwise.

    Raises:
        InputError: If torch has no such device on this machine.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={name}: {str(error).splitlines()[0]}; cpu always exists") from None
    return name


def _keep_errors(function: Callable[[Any], Any], raised: list[BaseException]) -> Callable[[Any], Any]:
    """Hide errors from Hydra, which would print more about them."""

    @functools.wraps(function)
    def wrapped(config: Any) -> Any:
        try:
            return function(config)
        except (Exception, KeyboardInterrupt) as error:
            raised.append(error)

    return wrapped


def _hydra_errors() -> tuple[type[Exception], type[Exception]]:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return HydraException, OmegaConfBaseException
