"""SPICE (Anderson et al. 2016), computed by its authors' Java program.

The program is part of pycocoevalcap. The Stanford CoreNLP 3.6.0 models that it requires are not, and are
never downloaded here: they are read from the folder in the environment variable ``BUA_SPICE``, by
default from where pycocoevalcap puts them.
"""

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bua.errors import InputError
from bua.metrics.java import JAVA_FLAGS, find_java, jar_path

SPICE_JAR = "spice/spice-1.0.jar"
MAIN = "edu.anu.spice.SpiceScorer"
MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
#: Packages that the program accesses by reflection, which Java 16 and later must allow explicitly.
OPEN_PACKAGES = ("java.lang", "java.math", "java.net", "java.text", "java.util", "java.util.concurrent")


def models_folder() -> Path:
    """Return the folder of the language models."""
    return Path(os.environ.get("BUA_SPICE", jar_path(SPICE_JAR).parent / "lib"))


def spice_missing() -> str | None:
    """Return what SPICE lacks on this machine, or ``None`` if its models are present."""
    missing = [name for name in MODELS if not (models_folder() / name).is_file()]
    if missing:
        return (
            f"{missing[0]} is not in {models_folder()}; unpack Stanford CoreNLP 3.6.0 there, or set "
            "BUA_SPICE to its folder"
        )
    return None


def spice(hypotheses: Sequence[str], references: Sequence[Sequence[str]], timeout: float = 3600) -> float:
    """Return SPICE, the mean F-score of the scene graphs; captions without a scene graph score 0.

    Args:
        hypotheses: Tokenized caption of each image.
        references: Tokenized references of each image.
        timeout: Time limit in seconds.

    Raises:
        InputError: If Java or the models are missing, or if the program fails or exceeds the time limit.
    """
    if missing := spice_missing():
        raise InputError(f"spice: {missing}, or omit it from metrics=[...]")
    images = [
        {"image_id": n, "test": caption, "refs": list(captions)}
        for n, (caption, captions) in enumerate(zip(hypotheses, references, strict=True))
    ]
    program = jar_path(SPICE_JAR)
    jars = [program, *sorted(program.parent.glob("lib/*.jar")), *(models_folder() / name for name in MODELS)]
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "captions.json", Path(folder) / "scores.json"
        source.write_text(json.dumps(images), encoding="utf-8")
        command = [
            find_java(),
            "-Xmx8G",
            *JAVA_FLAGS,
            *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPEN_PACKAGES),
        ]
        command += ["-cp", os.pathsep.join(map(str, jars)), MAIN, str(source), "-out", str(out), "-silent"]
        try:
            result = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"SPICE did not finish within {timeout:.0f} s") from None
        try:
            scores = [float(image["scores"]["All"]["f"]) for image in json.loads(out.read_text())]
        except (OSError, ValueError, KeyError, TypeError):
            scores = []
    if result.returncode or len(scores) != len(images):
        output = next(iter((result.stderr or result.stdout).strip().splitlines()), "none")
        raise InputError(
            f"SPICE failed: {len(scores)} scores for {len(images)} captions; output of Java: {output}"
        )
    return math.fsum(score for score in scores if math.isfinite(score)) / max(len(scores), 1)
