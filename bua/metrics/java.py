"""The two Java programs of the official caption evaluation, run so that they cannot go wrong silently.

The jars are those that pycocoevalcap ships, which are those of the COCO evaluation server.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from bua.errors import InputError
from bua.text.tokenize import PTB_PUNCTUATION

PTB_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
METEOR_JAR = "meteor/meteor-1.5.jar"
#: So that texts are read and numbers written alike everywhere.
FLAGS = ("-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")


def jar(name: str) -> Path:
    """Return the path of a jar by its place in pycocoevalcap."""
    return Path(str(files("pycocoevalcap") / name))


def java() -> str:
    """Return the Java program.

    Raises:
        InputError: there is none on the path.
    """
    found = shutil.which("java")
    if found is None:
        raise InputError(
            "Java was not found; install a Java runtime, or give tokenizer=python and leave METEOR "
            "out of metrics=[...]"
        )
    return found


def java_version() -> str | None:
    """Return the first line of ``java -version``, or nothing without Java."""
    found = shutil.which("java")
    if found is None:
        return None
    done = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=60, check=False)
    return next((line for line in done.stderr.splitlines() if "version" in line), None)


def jar_sha1(name: str) -> str:
    """Return the sha1 of a jar, which signatures carry."""
    return hashlib.sha1(jar(name).read_bytes(), usedforsecurity=False).hexdigest()


def ptb_tokenize(captions: Sequence[str], timeout: float = 600) -> list[str]:
    """Tokenise as the COCO evaluation does: Penn Treebank, lower case, without punctuation.

    Raises:
        InputError: Java is missing, fails, or returns another number of lines than it was given.
    """
    if not captions:
        return []
    lines = [" ".join(caption.split()) for caption in captions]
    command = [java(), *FLAGS, "-cp", str(jar(PTB_JAR)), "edu.stanford.nlp.process.PTBTokenizer"]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        try:
            done = subprocess.run(
                [*command, "-preserveLines", "-lowerCase", file.name],
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"the PTB tokenizer did not finish within {timeout:.0f} s") from None
    out = done.stdout.split("\n")[:-1]
    if done.returncode or len(out) != len(lines):
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InputError(
            f"the PTB tokenizer failed: {len(out)} lines for {len(lines)} captions; Java said: "
            f"{said[0] if said else 'nothing'}"
        )
    return [" ".join(w for w in line.rstrip().split(" ") if w not in PTB_PUNCTUATION) for line in out]


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]], timeout: float = 900) -> float:
    """Return METEOR 1.5 of a corpus, aggregated as the official evaluation does.

    Args:
        hypotheses: one tokenised caption an image.
        references: the tokenised references of each.
        timeout: seconds after which the program is ended.

    Raises:
        InputError: Java is missing, or the program fails or does not end in time.
    """
    command = [
        java(),
        "-Xmx2G",
        *FLAGS,
        "-jar",
        str(jar(METEOR_JAR)),
        "-",
        "-",
        "-stdio",
        "-l",
        "en",
        "-norm",
    ]
    asked = [_score_line(h, r) for h, r in zip(hypotheses, references, strict=True)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    watch = threading.Timer(timeout, _end, [process])
    watch.start()
    try:
        return _converse(process, asked)
    except (OSError, ValueError):
        raise InputError("METEOR failed or ran out of time; leave it out of metrics=[...]") from None
    finally:
        watch.cancel()
        _end(process)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _converse(process: "subprocess.Popen[str]", asked: Sequence[str]) -> float:
    """Get the statistics of every caption, then the score of all of them together."""
    assert process.stdin is not None
    assert process.stdout is not None
    stats = []
    for line in asked:
        process.stdin.write(line)
        process.stdin.flush()
        stats.append(process.stdout.readline().strip())
    process.stdin.write("EVAL ||| " + " ||| ".join(stats) + "\n")
    process.stdin.flush()
    for _ in asked:  # one score a caption, then that of the corpus
        process.stdout.readline()
    return float(process.stdout.readline())


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill a process and its children."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def _score_line(hypothesis: str, references: Sequence[str]) -> str:
    parts = [*references, hypothesis]
    cleaned = (" ".join(part.replace("|||", " ").split()) for part in parts)
    return "SCORE ||| " + " ||| ".join(cleaned) + "\n"
