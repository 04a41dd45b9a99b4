import copy
import json
import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bua.data.vqa import read_annotations
from bua.errors import InputError
from bua.metrics.caption import caption_scores, tokenized
from bua.metrics.detection import coco_ap
from bua.metrics.grounding import iou
from bua.metrics.java import meteor, ptb_tokenize
from bua.metrics.vqa import RULES, Asked, percent, question_accuracy, vqa_accuracy

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")
ANSWERS = st.lists(
    st.sampled_from(["yes", "Yes", "no", "two", "2", "t-shirt", "t shirt"]), min_size=2, max_size=10
)


def test_accuracy_of_the_stored_questions_under_both_rules(shared) -> None:
    cases = json.loads((shared / "vqa_accuracy/cases.json").read_text())["questions"]
    assert len(cases) > 5
    for case in cases:
        for rule in ("official", "legacy"):
            accuracy = question_accuracy(case["prediction"], case["ground_truth"], rule)
            assert 100 * accuracy == pytest.approx(case[f"accuracy_{rule}"], abs=0.005)


def test_the_scored_prediction_file_is_equal_in_every_digit(shared) -> None:
    predictions = json.loads((shared / "vqa_accuracy/predictions.json").read_text())
    expected = json.loads((shared / "vqa_accuracy/expected.json").read_text())
    asked = read_annotations(shared / "data/vqa_v2_mini/annotations_val.json")
    said = {p["question_id"]: p["answer"] for p in predictions}
    for rule in ("official", "legacy"):
        assert vqa_accuracy(said, asked, rule) == expected[rule]


@given(answers=ANSWERS, said=st.sampled_from(["yes", "Yes", "2", "two", "t-shirt", "zebra"]))
def test_accuracy_is_the_mean_over_leaving_out_each_annotator(answers, said) -> None:
    from bua.text import normalize

    given, mine = [normalize(a) for a in answers], normalize(said)
    slow = 0.0
    for n in range(len(given)):
        others = given[:n] + given[n + 1 :]
        slow += min(1, sum(o == mine for o in others) / 3) / len(given)
    assert question_accuracy(said, answers, "always") == pytest.approx(slow)


@given(answers=ANSWERS, said=st.text(max_size=8), rule=st.sampled_from(RULES))
def test_accuracy_lies_between_0_and_1_and_changes_nothing(answers, said, rule) -> None:
    before = copy.deepcopy(answers)
    assert 0 <= question_accuracy(said, answers, rule) <= 1
    assert answers == before


def test_one_annotator_is_agreed_with_or_not() -> None:
    assert question_accuracy("red", ["red"]) == 1
    assert question_accuracy("blue", ["red"]) == 0


def test_scoring_twice_gives_the_same_numbers(shared) -> None:
    asked = read_annotations(shared / "data/vqa_v2_mini/annotations_val.json")
    said = {i: "Two" for i in asked}
    assert vqa_accuracy(said, asked) == vqa_accuracy(said, asked)


def test_means_are_rounded_half_away_from_zero() -> None:
    assert percent([0.000625] * 2) == 0.06
    assert percent([1 / 3]) == 33.33
    assert percent([0.12345] * 1) == 12.35
    assert percent([]) == 0


def test_types_are_averaged_apart() -> None:
    asked = {
        1: Asked(["yes"] * 10, "yes/no", "is", "yes"),
        2: Asked(["red"] * 10, "other", "what", "red"),
    }
    result = vqa_accuracy({1: "yes", 2: "blue"}, asked)
    assert result["overall"] == 50
    assert result["per_answer_type"] == {"other": 0, "yes/no": 100}


def nlg_eval(shared):
    folder = shared / "data/metrics"
    files = sorted(folder.rglob("*.txt"))
    hypotheses = next(f for f in files if "hyp" in f.name).read_text().splitlines()
    references = [f.read_text().splitlines() for f in files if "ref" in f.name]
    said = {n: [line.strip()] for n, line in enumerate(hypotheses)}
    truth = {n: [r[n].strip() for r in references] for n in said}
    return said, truth


def test_the_nlg_eval_example_gives_its_published_numbers(shared) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    said, truth = nlg_eval(shared)
    bleu, _ = Bleu(4).compute_score(truth, said, verbose=0)
    assert bleu == pytest.approx([0.55, 0.428174, 0.284043, 0.201143], abs=1e-6)
    assert Rouge().compute_score(truth, said)[0] == pytest.approx(0.522104, abs=1e-6)
    assert Cider().compute_score(truth, said)[0] == pytest.approx(1.242192, abs=1e-6)


@needs_java
@pytest.mark.slow
def test_meteor_of_the_nlg_eval_example_is_the_published_one(shared) -> None:
    said, truth = nlg_eval(shared)
    value = meteor([said[n][0] for n in said], [truth[n] for n in said])
    assert value == pytest.approx(0.295797, abs=1e-6)


REFERENCES = {1: ["A cat sits on a mat.", "The cat is sitting."], 2: ["Two dogs run!", "dogs are running"]}


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
        (({3: "x"}, REFERENCES), "image 3 was predicted but has no references"),
    ],
)
def test_what_cannot_be_scored_is_named(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        caption_scores(*arguments, tokenizer="python")


def test_unknown_metric_and_tokenizer_are_named() -> None:
    with pytest.raises(InputError, match="no metric 'bert'"):
        caption_scores({1: "x"}, REFERENCES, metrics=["bert"])
    with pytest.raises(InputError, match="no tokenizer 'x'"):
        tokenized({1: "x"}, REFERENCES, "x")


@needs_java
@pytest.mark.parametrize("mark", ["\r", "\x0b", "\x0c", "\u2028", "\u2029", "\n", "\x85"])
def test_line_breaks_of_all_kinds_do_not_shift_captions(mark: str) -> None:
    assert ptb_tokenize([f"one{mark}two", "Three, four."]) == ["one two", "three four"]


@needs_java
def test_a_failing_java_is_an_error_and_not_a_caption(monkeypatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1k")
    with pytest.raises(InputError, match="the PTB tokenizer failed"):
        ptb_tokenize(["a cat"])


def test_without_java_the_error_says_what_to_do(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="Java was not found.*tokenizer=python"):
        caption_scores({1: "x"}, REFERENCES)


@pytest.mark.parametrize("program", ["exit 3", "sleep 60", "echo no number; cat > /dev/null"])
def test_a_broken_meteor_ends_in_one_line_in_time(program: str, monkeypatch, tmp_path) -> None:
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
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "InputError", done.stderr
    assert done.returncode == 0


BOX = st.tuples(*[st.integers(0, 20)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1)
)


@given(a=BOX, b=BOX)
def test_iou_counts_pixels(a, b) -> None:
    def pixels(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    expected = len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b))
    assert iou(np.array([a], float), np.array([b], float))[0, 0] == pytest.approx(expected)


def test_average_precision_of_true_boxes_is_1_and_of_none_0() -> None:
    truth = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    instances = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "a"}], "annotations": [truth]}
    assert coco_ap(instances, [{**truth, "score": 0.9}])["AP50"] == pytest.approx(1)
    assert coco_ap(instances, [])["AP50"] == 0
