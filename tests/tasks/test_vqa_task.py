"""Validation logs the official accuracy, in one process or in several."""

import json
import math
import subprocess
import sys

import pytest
import torch

from bua.data.vqa.files.read import read_annotations, read_questions
from bua.metrics.vqa import vqa_accuracy
from tests.helpers.data import vqa_data, write_json
from tests.helpers.parity import ROOT
from tests.helpers.tasks import validate_vqa, vqa_task


def test_validation_logs_the_official_accuracy(scenes) -> None:
    data = vqa_data(scenes)
    task, predicted = vqa_task(data).eval(), {}
    with torch.no_grad():
        for batch in data.val_dataloader():
            regions = data.region_input.convert(batch.regions)
            best = task.model(regions, batch.words)[0].argmax(1).tolist()
            predicted |= {
                i: data.answers.surface_forms[n] for i, n in zip(batch.question_id, best, strict=True)
            }
    expected = vqa_accuracy(predicted, read_annotations(scenes / "annotations_val.json"))
    metrics = validate_vqa(scenes)
    assert metrics["val/accuracy"] == pytest.approx(expected["overall"], abs=0.00501)
    assert metrics["val/accuracy"] > 0
    assert len(expected["per_answer_type"]) == 3
    for name, value in expected["per_answer_type"].items():
        assert metrics[f"val/accuracy/{name}"] == pytest.approx(value, abs=0.00501)


def test_answer_types_without_questions_are_not_logged(scenes, tmp_path) -> None:
    questions = json.loads((scenes / "questions_val.json").read_text())
    types = {i: a.answer_type for i, a in read_annotations(scenes / "annotations_val.json").items()}
    questions["questions"].sort(key=lambda q: types[q["question_id"]])
    metrics = validate_vqa(scenes, questions_file=write_json(tmp_path, questions), limit_val_batches=1)
    assert all(math.isfinite(value) for value in metrics.values())
    first = {types[q["question_id"]] for q in questions["questions"][:7]}
    assert {f"val/accuracy/{name}" for name in first} == {n for n in metrics if n.startswith("val/accuracy/")}


SCRIPT = """
import json, sys
from pathlib import Path
from pytorch_lightning.utilities import rank_zero_only
from tests.helpers.tasks import validate_vqa

scenes, questions, out = sys.argv[1:]
found = validate_vqa(Path(scenes), questions_file=questions, devices=2, strategy="ddp")
rank_zero_only(Path(out).write_text)(json.dumps(found))
"""


@pytest.mark.slow
def test_two_processes_log_the_metrics_of_one(scenes, tmp_path) -> None:
    questions = json.loads((scenes / "questions_val.json").read_text())
    questions["questions"] = questions["questions"][
        : len(questions["questions"]) // 2 * 2 - 1
    ]  # an odd number, so that one fills up a shard
    path = write_json(tmp_path, questions)
    assert len(read_questions(path)) % 2 == 1
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", scenes, path, tmp_path / "two.json"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
    subprocess.run([*map(str, command)], check=True, timeout=300, env=environment, capture_output=True)
    found = [validate_vqa(scenes, questions_file=path), json.loads((tmp_path / "two.json").read_text())]
    loss = [metrics.pop("val/loss") for metrics in found]
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert len(found[0]) == 4
    assert loss[1] == pytest.approx(loss[0], rel=0.1)  # a mean over batches, in which one is duplicated
