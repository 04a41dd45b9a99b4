"""SPICE: the call of its program, its score and its error messages."""

import os
import stat
from pathlib import Path

import pytest

from bua.errors import InputError
from bua.metrics.caption import caption_scores, signature
from bua.metrics.java import jar_path
from bua.metrics.spice import MAIN, MODELS, SPICE_JAR, spice, spice_missing

#: Mock of Java: scores every caption by the fraction of its words that are in the first reference.
JAVA = """#!{python}
import json, os, sys
at = sys.argv.index("{main}")
classes = sys.argv[sys.argv.index("-cp") + 1].split(os.pathsep)
assert all(os.path.exists(path) for path in classes), classes
images = json.load(open(sys.argv[at + 1]))
def f(image):
    words = image["test"].split()
    return sum(w in image["refs"][0].split() for w in words) / len(words) if words else float("nan")
out = sys.argv[sys.argv.index("-out") + 1]
scores = [{{"image_id": i["image_id"], "scores": {{"All": {{"f": f(i)}}}}}} for i in images]
json.dump(scores{part}, open(out, "w"))
"""


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """Return a folder with empty files in place of the models."""
    for name in MODELS:
        (tmp_path / name).touch()
    monkeypatch.setenv("BUA_SPICE", str(tmp_path))
    return tmp_path


def install_java(folder: Path, monkeypatch, text: str) -> None:
    program = folder / "bin" / "java"
    program.parent.mkdir()
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def python(part: str = "") -> str:
    import sys

    return JAVA.format(python=sys.executable, main=MAIN, part=part)


def test_pycocoevalcap_contains_the_program() -> None:
    assert jar_path(SPICE_JAR).is_file()


def test_missing_models_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("BUA_SPICE", str(tmp_path))
    assert str(spice_missing()).startswith(f"{MODELS[0]} is not in {tmp_path}; ")
    (tmp_path / MODELS[0]).touch()  # one alone is not enough
    assert str(spice_missing()).startswith(f"{MODELS[1]} is not in {tmp_path}; ")
    (tmp_path / MODELS[0]).unlink()
    with pytest.raises(InputError, match=f"spice: {MODELS[0]} is not in {tmp_path}; .* omit it from metrics"):
        caption_scores({1: "a cat"}, {1: ["a cat"]}, metrics=("spice",), tokenizer="python")


def test_the_score_is_the_mean_and_0_for_captions_without_a_scene_graph(models, monkeypatch) -> None:
    install_java(models, monkeypatch, python())
    assert spice_missing() is None
    assert spice(["a b", "c d", ""], [["a b"], ["c x", "y"], ["z"]]) == pytest.approx((1 + 0.5 + 0) / 3)


def test_spice_is_part_of_the_scores_and_the_signature(models, monkeypatch) -> None:
    install_java(models, monkeypatch, python())
    scores = caption_scores({1: "a cat"}, {1: ["A cat."]}, metrics=("spice",), tokenizer="python")
    assert scores == {"SPICE": 1.0}
    assert SPICE_JAR in signature(["spice"], "python", 1)["jars"]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (python("[:1]"), "SPICE failed: 1 scores for 2 captions"),
        (
            "#!/bin/sh\necho Exception in thread main >&2; exit 1\n",
            "0 scores .* output of Java: Exception in thread",
        ),
        ("#!/bin/sh\nexec sleep 60\n", "SPICE did not finish within 1 s"),
    ],
)
def test_a_failing_program_is_named_in_one_line(program: str, message: str, models, monkeypatch) -> None:
    install_java(models, monkeypatch, program)
    with pytest.raises(InputError, match=message):
        spice(["a", "b"], [["a"], ["b"]], timeout=1)
