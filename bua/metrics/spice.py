"""SPICE (Anderson et al. 2016), by its authors' program, where its language models are.

The program comes with pycocoevalcap; the models of Stanford CoreNLP 3.6.0 that it reads do not, and are
never downloaded here. They are looked for in the folder that ``BUA_SPICE`` names, else where pycocoevalcap
puts them.
"""

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bua.errors import InputError
from bua.metrics.java import FLAGS, jar, java

SPICE_JAR = "spice/spice-1.0.jar"
MAIN = "edu.anu.spice.SpiceScorer"
MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
#: What the program reflects on, which Java from 16 on must be told.
OPENED = ("java.lang", "java.math", "java.net", "java.text", "java.util", "java.util.concurrent")


def models_folder() -> Path:
    """Return where the language models are looked for."""
    return Path(os.environ.get("BUA_SPICE", jar(SPICE_JAR).parent / "lib"))


def spice_missing() -> str | None:
    """Say what SPICE lacks on this machine; nothing if it can be computed."""
    lost = [name for name in MODELS if not (models_folder() / name).is_file()]
    if lost:
        return (
            f"{lost[0]} is not in {models_folder()}; unpack Stanford CoreNLP 3.6.0 there, or name its folder "
            "as BUA_SPICE"
        )
    return None


def spice(hypotheses: Sequence[str], references: Sequence[Sequence[str]], timeout: float = 3600) -> float:
    """Return the mean F score of scene graphs; 0 for a caption that has none.

    Args:
        hypotheses: one tokenised caption an image.
        references: the tokenised references of each.
        timeout: seconds after which the program is ended.

    Raises:
        InputError: Java or the models are missing, or the program fails or does not end in time.
    """
    if missing := spice_missing():
        raise InputError(f"spice: {missing}, or leave it out of metrics=[...]")
    asked = [
        {"image_id": n, "test": said, "refs": list(truth)}
        for n, (said, truth) in enumerate(zip(hypotheses, references, strict=True))
    ]
    program = jar(SPICE_JAR)
    jars = [program, *sorted(program.parent.glob("lib/*.jar")), *(models_folder() / name for name in MODELS)]
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "captions.json", Path(folder) / "scores.json"
        given.write_text(json.dumps(asked), encoding="utf-8")
        command = [
            java(),
            "-Xmx8G",
            *FLAGS,
            *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED),
        ]
        command += ["-cp", os.pathsep.join(map(str, jars)), MAIN, str(given), "-out", str(out), "-silent"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise InputError(f"SPICE did not finish within {timeout:.0f} s") from None
        try:
            scores = [float(image["scores"]["All"]["f"]) for image in json.loads(out.read_text())]
        except (OSError, ValueError, KeyError, TypeError):
            scores = []
    if done.returncode or len(scores) != len(asked):
        said = next(iter((done.stderr or done.stdout).strip().splitlines()), "nothing")
        raise InputError(f"SPICE failed: {len(scores)} scores for {len(asked)} captions; Java said: {said}")
    return math.fsum(score for score in scores if math.isfinite(score)) / max(len(scores), 1)
