"""Run the PTB tokenizer and METEOR, the Java programs of the official caption evaluation.

The jars are those in pycocoevalcap, as on the COCO evaluation server. Failures and truncated output are
raised as errors.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from bua.errors import InputError
from bua.text.tokenize import PTB_PUNCTUATION

PTB_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
METEOR_JAR = "meteor/meteor-1.5.jar"
#: Characters that CoreNLP takes for the end of a line, and halves of surrogate pairs.
_LINE_END, _SURROGATE = re.compile("[\n\r\x0b\x0c\x85\u2028\u2029]"), re.compile("[\ud800-\udfff]")
#: Time limit for asking Java for its version.
VERSION_SECONDS = 20
#: Make encoding and number format independent of the locale.
JAVA_FLAGS = ("-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")


def jar_path(name: str) -> Path:
    """Return the path of a jar given by its path within pycocoevalcap."""
    return Path(str(files("pycocoevalcap") / name))


def find_java() -> str:
    """Return the path of the ``java`` executable.

    Raises:
        InputError: If Java is not on the PATH.
    """
    path = shutil.which("java")
    if path is None:
        raise InputError(
            "Java was not found; install a Java runtime, or set tokenizer=python and omit meteor from "
            "metrics=[...]"
        )
    return path


def java_version() -> str | None:
    """Return the version line of ``java -version``, or ``None`` without Java."""
    path = shutil.which("java")
    if path is None:
        return None
    command, pipe = [path, "-version"], subprocess.PIPE
    try:
        result = subprocess.run(
            command, stderr=pipe, encoding="utf-8", errors="replace", timeout=VERSION_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{path} does not answer within {VERSION_SECONDS} seconds"
    return next((line for line in result.stderr.splitlines() if "version" in line), None)


def jar_sha1(name: str) -> str:
    """Return the SHA-1 of a jar, which is part of signatures."""
    return hashlib.sha1(jar_path(name).read_bytes(), usedforsecurity=False).hexdigest()


def count_replaced(captions: Iterable[str]) -> int:
    """Return the number of captions that cannot be passed to the official tokenizer as they are."""
    replaced = (_LINE_END.search(text.replace("\n", " ")) or _SURROGATE.search(text) for text in captions)
    return sum(map(bool, replaced))


def ptb_tokenize(captions: Sequence[str], timeout: float = 600) -> list[str]:
    """Tokenize captions as the COCO evaluation does: Penn Treebank, lowercase, without punctuation.

    Captions are passed on as they are, with two exceptions, in which the official evaluation mixes up
    captions or fails: a character that the tokenizer takes for the end of a line is replaced by a space, and
    half of a surrogate pair by U+FFFD. ``count_replaced`` counts such captions.

    Args:
        captions: Raw captions.
        timeout: Time limit in seconds.

    Returns:
        Tokens of each caption, separated by spaces.

    Raises:
        InputError: If Java is missing or fails, or does not return one line per caption.
    """
    if not captions:
        return []
    lines = [_SURROGATE.sub("\ufffd", _LINE_END.sub(" ", caption)) for caption in captions]
    command = [
        find_java(),
        *JAVA_FLAGS,
        "-cp",
        str(jar_path(PTB_JAR)),
        "edu.stanford.nlp.process.PTBTokenizer",
    ]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        try:
            result = subprocess.run(
                [*command, "-preserveLines", "-lowerCase", file.name],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"the PTB tokenizer did not finish within {timeout:.0f} s") from None
    out = result.stdout.split("\n")[:-1]
    if result.returncode or len(out) != len(lines):
        output = (result.stderr or result.stdout).strip().splitlines()
        raise InputError(
            f"the PTB tokenizer failed: {len(out)} lines for {len(lines)} captions; output of Java: "
            f"{output[0] if output else 'none'}"
        )
    return [" ".join(w for w in line.rstrip().split(" ") if w not in PTB_PUNCTUATION) for line in out]


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]], timeout: float = 900) -> float:
    """Return the corpus score of METEOR 1.5, aggregated as in the official evaluation.

    Args:
        hypotheses: Tokenized caption of each image.
        references: Tokenized references of each image.
        timeout: Time limit in seconds.

    Raises:
        InputError: If Java is missing, or if the program fails or exceeds the time limit.
    """
    command = [
        find_java(),
        "-Xmx2G",
        *JAVA_FLAGS,
        "-jar",
        str(jar_path(METEOR_JAR)),
        "-",
        "-",
        "-stdio",
        "-l",
        "en",
        "-norm",
    ]
    lines = [_score_line(h, r) for h, r in zip(hypotheses, references, strict=True)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    watchdog = threading.Timer(timeout, _kill, [process])
    watchdog.start()
    try:
        return _request_scores(process, lines)
    except (OSError, ValueError):
        raise InputError("METEOR failed or exceeded the time limit; omit meteor from metrics=[...]") from None
    finally:
        watchdog.cancel()
        _kill(process)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _request_scores(process: "subprocess.Popen[str]", lines: Sequence[str]) -> float:
    """Request the statistics of every caption, then the score of the corpus."""
    assert process.stdin is not None
    assert process.stdout is not None
    stats = []
    for line in lines:
        process.stdin.write(line)
        process.stdin.flush()
        stats.append(process.stdout.readline().strip())
    process.stdin.write("EVAL ||| " + " ||| ".join(stats) + "\n")
    process.stdin.flush()
    for _ in lines:  # one score per caption, then that of the corpus
        process.stdout.readline()
    return float(process.stdout.readline())


def _kill(process: "subprocess.Popen[str]") -> None:
    """Kill a process and its children."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def _score_line(hypothesis: str, references: Sequence[str]) -> str:
    parts = [*references, hypothesis]
    cleaned = (" ".join(part.replace("|||", " ").split()) for part in parts)
    return "SCORE ||| " + " ||| ".join(cleaned) + "\n"
