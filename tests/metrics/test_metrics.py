"""Caption metrics, the Java programs behind them, and detection metrics."""

import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.errors import InputError
from bua.metrics.caption import caption_scores, signature, tokenize_pairs
from bua.metrics.detection import coco_ap
from bua.metrics.grounding import iou
from bua.metrics.java import METEOR_JAR, PTB_JAR, meteor, ptb_tokenize
from bua.metrics.spice import SPICE_JAR

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")


def nlg_eval(shared):
    """Return the predictions and references of the nlg-eval example."""
    folder = shared / "data/metrics"
    files = sorted(folder.rglob("*.txt"))
    hypotheses = next(f for f in files if "hyp" in f.name).read_text().splitlines()
    references = [f.read_text().splitlines() for f in files if "ref" in f.name]
    predictions = {n: [line.strip()] for n, line in enumerate(hypotheses)}
    return predictions, {n: [r[n].strip() for r in references] for n in predictions}


def test_the_nlg_eval_example_gives_its_published_numbers(shared) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    predictions, references = nlg_eval(shared)
    bleu, _ = Bleu(4).compute_score(references, predictions, verbose=0)
    assert bleu == pytest.approx([0.55, 0.428174, 0.284043, 0.201143], abs=1e-6)
    assert Rouge().compute_score(references, predictions)[0] == pytest.approx(0.522104, abs=1e-6)
    assert Cider().compute_score(references, predictions)[0] == pytest.approx(1.242192, abs=1e-6)


@needs_java
@pytest.mark.slow
def test_meteor_of_the_nlg_eval_example_is_its_published_number(shared) -> None:
    predictions, references = nlg_eval(shared)
    value = meteor([predictions[n][0] for n in predictions], [references[n] for n in predictions])
    assert value == pytest.approx(0.295797, abs=1e-6)


REFERENCES = {1: ["A cat sits on a mat.", "The cat is sitting."], 2: ["Two dogs run!", "dogs are running"]}


def test_the_signature_names_the_jars_that_were_used(monkeypatch) -> None:
    monkeypatch.setattr("bua.metrics.caption.java_version", lambda: "17")
    for metrics, tokenizer, jars, java in (
        (["bleu"], "python", [], None),
        (["bleu"], "ptb", [PTB_JAR], "17"),
        (["meteor"], "python", [METEOR_JAR], "17"),
        (["spice", "meteor"], "ptb", [PTB_JAR, METEOR_JAR, SPICE_JAR], "17"),
    ):
        monkeypatch.setattr("bua.metrics.caption.jar_sha1", lambda name: f"sha1 of {name}")
        settings = signature(metrics, tokenizer, 3)
        assert settings["jars"] == {name: f"sha1 of {name}" for name in jars}
        assert settings["java"] == java


def test_a_perfect_caption_scores_higher_than_a_wrong_one() -> None:
    good = caption_scores(
        {1: "a cat sits on a mat", 2: "two dogs run"},
        REFERENCES,
        metrics=("bleu", "rouge", "cider"),
        tokenizer="python",
    )
    bad = caption_scores(
        {1: "two dogs run", 2: "a cat sits on a mat"},
        REFERENCES,
        metrics=("bleu", "rouge", "cider"),
        tokenizer="python",
    )
    assert set(good) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"}
    assert all(good[name] > bad[name] for name in good)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, REFERENCES), "no predictions"),
        (({3: "x"}, REFERENCES), "image 3 has a prediction but no references"),
    ],
)
def test_predictions_that_cannot_be_scored_are_named(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        caption_scores(*arguments, tokenizer="python")


def test_unknown_metric_and_tokenizer_are_named() -> None:
    with pytest.raises(InputError, match="unknown metric 'bert'"):
        caption_scores({1: "x"}, REFERENCES, metrics=["bert"])
    with pytest.raises(InputError, match="unknown tokenizer 'x'"):
        tokenize_pairs({1: "x"}, REFERENCES, "x")


@needs_java
@pytest.mark.parametrize("line_break", ["\r", "\x0b", "\x0c", "\u2028", "\u2029", "\n", "\x85"])
def test_line_breaks_of_all_kinds_do_not_shift_captions(line_break: str) -> None:
    assert ptb_tokenize([f"one{line_break}two", "Three, four."]) == ["one two", "three four"]


@needs_java
def test_a_failing_java_is_an_error_and_not_a_caption(monkeypatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1k")
    with pytest.raises(InputError, match="the PTB tokenizer failed"):
        ptb_tokenize(["a cat"])


def test_the_error_without_java_names_the_remedy(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="Java was not found.*tokenizer=python"):
        caption_scores({1: "x"}, REFERENCES)


@pytest.mark.parametrize("program", ["exit 3", "sleep 60", "echo no number; cat > /dev/null"])
def test_a_failing_meteor_ends_in_one_line_in_time(program: str, monkeypatch, tmp_path) -> None:
    fake = tmp_path / "java"
    fake.write_text(f"#!/bin/sh\n{program}\n")
    fake.chmod(fake.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(InputError, match="METEOR failed"):
        meteor(["a"], [["a"]], timeout=3)


@needs_java
def test_python_exits_after_meteor_failed() -> None:
    code = (
        "from bua.metrics.java import meteor\n"
        "try: meteor(['a cat'], [['a cat']], timeout=0.05)\nexcept Exception as e: print(type(e).__name__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.strip() == "InputError", result.stderr
    assert result.returncode == 0


BOX = st.tuples(*[st.integers(0, 20)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1)
)


@given(a=BOX, b=BOX)
def test_iou_equals_counting_pixels(a, b) -> None:
    def pixels(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    expected = len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b))
    assert iou(np.array([a], float), np.array([b], float))[0, 0] == pytest.approx(expected)


def test_average_precision_of_perfect_detections_is_1_and_of_no_detections_0() -> None:
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    instances = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "a"}], "annotations": [box]}
    assert coco_ap(instances, [{**box, "score": 0.9}])["AP50"] == pytest.approx(1)
    assert coco_ap(instances, [])["AP50"] == 0
