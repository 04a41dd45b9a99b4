"""SPICE: its program is called as it must be, and what it says becomes one number or one line."""

import os
import stat
from pathlib import Path

import pytest

from bua.errors import InputError
from bua.metrics.caption import caption_scores, signature
from bua.metrics.java import jar
from bua.metrics.spice import MAIN, MODELS, SPICE_JAR, spice, spice_missing

#: Stands for Java: scores every caption by the share of its words that its first reference has.
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
    """A folder with files of the names of the models."""
    for name in MODELS:
        (tmp_path / name).touch()
    monkeypatch.setenv("BUA_SPICE", str(tmp_path))
    return tmp_path


def stand_in(folder: Path, monkeypatch, text: str) -> None:
    program = folder / "bin" / "java"
    program.parent.mkdir()
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def python(part: str = "") -> str:
    import sys

    return JAVA.format(python=sys.executable, main=MAIN, part=part)


def test_the_program_comes_with_pycocoevalcap() -> None:
    assert jar(SPICE_JAR).is_file()


def test_without_its_models_spice_says_which_and_where(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("BUA_SPICE", str(tmp_path))
    assert str(spice_missing()).startswith(f"{MODELS[0]} is not in {tmp_path}; ")
    (tmp_path / MODELS[0]).touch()  # one alone is not enough
    assert str(spice_missing()).startswith(f"{MODELS[1]} is not in {tmp_path}; ")
    (tmp_path / MODELS[0]).unlink()
    with pytest.raises(
        InputError, match=f"spice: {MODELS[0]} is not in {tmp_path}; .* leave it out of metrics"
    ):
        caption_scores({1: "a cat"}, {1: ["a cat"]}, metrics=("spice",), tokenizer="python")


def test_the_score_is_the_mean_and_0_where_there_is_no_graph(models, monkeypatch) -> None:
    stand_in(models, monkeypatch, python())
    assert spice_missing() is None
    assert spice(["a b", "c d", ""], [["a b"], ["c x", "y"], ["z"]]) == pytest.approx((1 + 0.5 + 0) / 3)


def test_it_is_among_the_scores_and_in_the_signature(models, monkeypatch) -> None:
    stand_in(models, monkeypatch, python())
    found = caption_scores({1: "a cat"}, {1: ["A cat."]}, metrics=("spice",), tokenizer="python")
    assert found == {"SPICE": 1.0}
    assert SPICE_JAR in signature(["spice"], "python", 1)["jars"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (python("[:1]"), "SPICE failed: 1 scores for 2 captions"),
        (
            "#!/bin/sh\necho Exception in thread main >&2; exit 1\n",
            "0 scores .* Java said: Exception in thread",
        ),
        ("#!/bin/sh\nexec sleep 60\n", "SPICE did not finish within 1 s"),
    ],
)
def test_a_program_that_fails_is_one_line(text: str, line: str, models, monkeypatch) -> None:
    stand_in(models, monkeypatch, text)
    with pytest.raises(InputError, match=line):
        spice(["a", "b"], [["a"], ["b"]], timeout=1)
