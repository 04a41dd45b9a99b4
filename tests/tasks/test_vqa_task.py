"""Validation of answers is the official accuracy, of one process or of several."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from bua.data.vqa.files.read import read_annotations, read_questions
from bua.metrics.vqa import vqa_accuracy
from tests.helpers.data import vqa_data
from tests.data.test_vqa_files import written
from tests.helpers.parity import ROOT
from tests.tasks.test_tasks import answering


def validated(scenes: Path, *, questions: str | None = None, **more) -> dict[str, float]:
    data = vqa_data(scenes, batch_size=7, **({"val": questions} if questions else {}))
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **more,
    )
    (metrics,) = trainer.validate(answering(data), data, verbose=False)
    return metrics


def test_validation_gives_the_official_accuracy_of_the_best_answers(scenes) -> None:
    data = vqa_data(scenes)
    task, said = answering(data).eval(), {}
    with torch.no_grad():
        for batch in data.val_dataloader():
            best = task.model(batch.regions, batch.words)[0].argmax(1).tolist()
            said |= {i: data.answers.surface_forms[n] for i, n in zip(batch.question_id, best, strict=True)}
    expected = vqa_accuracy(said, read_annotations(scenes / "annotations_val.json"))
    metrics = validated(scenes)
    assert metrics["val/accuracy"] == pytest.approx(expected["overall"], abs=0.00501)
    assert metrics["val/accuracy"] > 0
    assert len(expected["per_answer_type"]) == 3
    for name, value in expected["per_answer_type"].items():
        assert metrics[f"val/accuracy/{name}"] == pytest.approx(value, abs=0.00501)


def test_types_of_which_no_question_was_asked_are_not_logged(scenes, tmp_path) -> None:
    asked = json.loads((scenes / "questions_val.json").read_text())
    kinds = {i: a.answer_type for i, a in read_annotations(scenes / "annotations_val.json").items()}
    asked["questions"].sort(key=lambda q: kinds[q["question_id"]])
    metrics = validated(scenes, questions=written(tmp_path, "q.json", asked), limit_val_batches=1)
    assert all(math.isfinite(value) for value in metrics.values())
    first = {kinds[q["question_id"]] for q in asked["questions"][:7]}
    assert {f"val/accuracy/{kind}" for kind in first} == {n for n in metrics if n.startswith("val/accuracy/")}


SCRIPT = """
import json, sys
from pathlib import Path
from pytorch_lightning.utilities import rank_zero_only
from tests.tasks.test_vqa_task import validated

scenes, questions, devices, out = sys.argv[1:]
strategy = "ddp" if int(devices) > 1 else "auto"
found = validated(Path(scenes), questions=questions, devices=int(devices), strategy=strategy)
rank_zero_only(Path(out).write_text)(json.dumps(found))
"""


@pytest.mark.slow
def test_two_processes_share_the_questions_and_find_what_one_finds(scenes, tmp_path) -> None:
    asked = json.loads((scenes / "questions_val.json").read_text())
    asked["questions"] = asked["questions"][: len(asked["questions"]) // 2 * 2 - 1]  # one has to come twice
    questions = written(tmp_path, "q.json", asked)
    assert len(read_questions(questions)) % 2 == 1
    (tmp_path / "script.py").write_text(SCRIPT)
    found = []
    for devices in (1, 2):
        out = tmp_path / f"{devices}.json"
        command = [sys.executable, tmp_path / "script.py", scenes, questions, devices, out]
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
        subprocess.run([*map(str, command)], check=True, timeout=300, env=environment, capture_output=True)
        found.append(json.loads(out.read_text()))
    loss = [metrics.pop("val/loss") for metrics in found]
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert len(found[0]) == 4
    assert loss[1] == pytest.approx(loss[0], rel=0.1)  # a mean over batches, in which one is duplicated
