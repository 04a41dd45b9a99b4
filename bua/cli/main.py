"""The entry point: the commands, how one is found and run, and how a mistake becomes one line."""

import contextlib
import os
import sys

from bua.errors import InputError

#: What each command does; a command of two words belongs to the family of its first.
COMMANDS = {
    "quickstart": "all steps on synthetic scenes, from images to a report: out=DIR",
    "scenes": "write the synthetic data set in the formats of COCO, VQA v2 and Visual Genome: out=DIR",
    "extract": "extract region features of images: images=DIR_OR_LIST_OR_COCO_JSON out=F.h5",
    "detect": "detect objects in images, as JSON and as pictures: images=PHOTO_OR_DIR out=DIR",
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
    "predict": "predict captions or answers of a data set in the official format: run=DIR out=P.json",
    "evaluate": "compute the average precision of a detector: instances=F.json images=DIR",
    "score": "compute the official scores of predictions: task=caption|vqa predictions=P.json ...",
    "submit": "check predictions and write them for a test server: task=caption|vqa predictions=P.json out=F",
    "caption": "describe images: run=DIR images=PHOTO_OR_DIR",
    "ask": "answer a question about images: run=DIR images=PHOTO_OR_DIR question=TEXT",
    "export-detector": "export a trained detector for bua extract: run=DIR out=F.safetensors",
    "doctor": "show what this machine has: torch, devices, Java, free space",
}

#: First words of the commands of two words.
FAMILIES = frozenset(command.partition(" ")[0] for command in COMMANDS if " " in command)
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


def usage(family: str = "") -> str:
    """Return the help text of ``bua``, or of the commands of one family."""
    width = max(map(len, COMMANDS)) + 2
    shown = {name: text for name, text in COMMANDS.items() if not family or name.split()[0] == family}
    return "\n".join(
        [
            "usage: bua COMMAND key=value ...",
            "",
            "Bottom-up attention: from images to regions to captions and answers.",
            "",
            *(f"  {name:{width}}{text}" for name, text in shown.items()),
            "",
            "bua COMMAND --cfg job   shows every key of a command and its value",
            "bua COMMAND --help      shows the groups to choose from",
            "BUA_TRACEBACK=1         shows where a mistake was noticed",
        ]
    )
