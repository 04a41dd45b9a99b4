"""The entry point: from the words of the command line to a command, and from mistakes to one line."""

import contextlib
import os
import sys

from bua.cli.usage import COMMANDS, FAMILIES, usage
from bua.errors import InputError

#: Names the command to the processes that Lightning starts, whose words are those after it.
COMMAND_VARIABLE = "BUA_COMMAND"
#: How long an idle thread of GNU OpenMP, which torch computes with on Linux, spins before it sleeps. The
#: default of milliseconds costs all others where there are more threads than cores:
#: experiments/speed/busy.py measures how much.
SPIN_COUNT = "5000"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        return _print(usage())
    if words[0] in ("-V", "--version", "version"):
        from bua import __version__

        return _print(f"bua {__version__}")
    if "LOCAL_RANK" in os.environ and "=" in words[0]:  # a process that Lightning started
        words.insert(0, os.environ.get(COMMAND_VARIABLE, words[0]))
    if words[0] in FAMILIES and (len(words) == 1 or words[1] in ("-h", "--help")):
        return _print(usage(words[0]))
    length = 2 if " ".join(words[:2]) in COMMANDS else 1
    command, overrides = " ".join(words[:length]), words[length:]
    if command not in COMMANDS:
        given = " ".join(words[:2] if words[0] in FAMILIES else words[:1])
        return _fail("bua", f"there is no command {given!r}; the commands are {', '.join(COMMANDS)}")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read when torch is imported
    os.environ[COMMAND_VARIABLE] = command
    from bua.cli.application import run

    try:
        run(command, overrides)
    except InputError as error:
        if os.environ.get("BUA_TRACEBACK"):
            raise
        return _fail(f"bua {command}", str(error))
    except OSError as error:  # a folder without write permission, a full disk
        if os.environ.get("BUA_TRACEBACK") or error.filename is None:
            raise
        return _fail(f"bua {command}", f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        return _fail(f"bua {command}", "interrupted", code=130)
    return 0


def _print(text: str) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)
    return 0


def _fail(command: str, message: str, code: int = 2) -> int:
    # a worker process wraps the message into its traceback
    line = message.rsplit("InputError: ", 1)[-1] if message.startswith("Caught ") else message
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0":  # of several processes, the first
        print(f"{command}: {' '.join(line.split())}", file=sys.stderr)
    return code
