"""The command line: ``bua COMMAND key=value ...``, every command a Hydra application.

Only this package imports hydra and omegaconf; this module imports neither, so that ``bua --help``
answers at once.
"""

import contextlib
import importlib
import os
import sys

from bua.cli.usage import COMMANDS, FAMILIES, usage
from bua.errors import InputError

#: How long a thread of GNU OpenMP, which torch computes with on Linux, looks for more work before it sleeps.
#: By itself it does so for milliseconds, which it takes from all others where there are more threads at work
#: than cores: experiments/speed/busy.py measures what that costs.
SPIN_COUNT = "5000"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        with contextlib.suppress(BrokenPipeError):
            print(usage(), flush=True)
        return 0
    if words[0] in ("-V", "--version", "version"):
        from bua import __version__

        print(f"bua {__version__}")
        return 0
    if "LOCAL_RANK" in os.environ and "=" in words[0]:  # started by Lightning to share the work
        words.insert(0, os.environ.get("BUA_COMMAND", words[0]))
    name, rest = words[0], words[1:]
    if name in FAMILIES and (not rest or rest[0] in ("-h", "--help")):
        print(usage(f"{name}_"), flush=True)
        return 0
    if name in FAMILIES and f"{name}_{rest[0]}" in COMMANDS:
        name, rest = f"{name}_{rest[0]}", rest[1:]
    if name not in COMMANDS:
        said = " ".join(words[:2] if name in FAMILIES else words[:1])
        there = ", ".join(COMMANDS).replace("_", " ")
        return _fail("bua", f"there is no command {said!r}; the commands are {there}")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read when torch is imported
    from bua.cli.application import run

    try:
        run(name, importlib.import_module(f"bua.cli.commands.{name}").main, rest)
    except InputError as error:
        if os.environ.get("BUA_TRACEBACK"):
            raise
        return _fail(f"bua {name.replace('_', ' ')}", str(error))
    except OSError as error:  # a folder that may not be written to, a disk that is full
        if os.environ.get("BUA_TRACEBACK") or error.filename is None:
            raise
        return _fail(f"bua {name}", f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        return _fail(f"bua {name}", "interrupted", code=130)
    return 0


def _fail(command: str, message: str, code: int = 2) -> int:
    # a worker process wraps the line of a mistake into its traceback
    line = message.rsplit("InputError: ", 1)[-1] if message.startswith("Caught ") else message
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0":  # of several, the first speaks
        print(f"{command}: {' '.join(line.split())}", file=sys.stderr)
    return code
