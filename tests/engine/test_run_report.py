"""What a training says of itself, and what a trial leaves behind."""

import csv
import re
from pathlib import Path

import pytest

from bua.tasks.vqa import VQATask
from tests.helpers.commands import run_ok
from tests.helpers.events import read_events, tags


def questions(scenes: Path, out: Path, *more: str) -> list[str]:
    """Return the command of a training of two epochs of four steps."""
    words = ["train", "experiment=vqa_scenes", f"scenes={scenes}", f"out={out}", "scheduler=constant"]
    words += ["data.answers.min_count=1", "trainer.max_epochs=2", "data.batch_size=36"]
    return [*words, *more]


def test_a_training_on_questions_says_what_it_will_do(scenes, tmp_path, capfd) -> None:
    run_ok(*questions(scenes, tmp_path / "run", "logger=csv"))
    out = capfd.readouterr().out
    for line in (
        "train: 144 questions on 24 images\n",
        "val: 48 questions on 8 images\n",
        "answers: 35\n",
        f"writes: {tmp_path}/run, with metrics.csv\n",
        "steps: 4 per epoch, 8 in all\n",
    ):
        assert line in out
    assert re.search(
        r"^vocabulary: 65 words; 0.00% of the words of train and 0\.\d\d% of .* val are", out, re.M
    )
    assert re.search(r"^model: UpDownVQAModel, 572,447 parameters$", out, re.M)


def test_a_training_on_captions_says_what_it_will_do(scenes, tmp_path, capfd) -> None:
    words = ["train", "experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/run", "logger=csv"]
    run_ok(*words, "trainer.max_epochs=1", "model.hidden_size=8")
    out = capfd.readouterr().out
    assert f"train: 24 images, 120 captions of {scenes}/captions_train.json\n" in out
    assert f"val: 8 images, 40 captions of {scenes}/captions_val.json\n" in out
    assert re.search(
        r"^vocabulary: 57 words; 0.99% of the words of train and 4.62% of the words of val", out, re.M
    )


def test_a_training_of_a_detector_says_what_it_will_do(scenes, tmp_path, capfd) -> None:
    words = ["train", "experiment=detector_scenes", f"scenes={scenes}", f"out={tmp_path}/run", "logger=csv"]
    few = ["trainer.fast_dev_run=true", "trainer.accelerator=cpu", "data.batch_size=1", "data.num_workers=0"]
    run_ok(*words, *few)
    out = capfd.readouterr().out
    assert f"train: 24 images of {scenes}/instances_train.json\n" in out
    assert re.search(r"^classes: \d+; attributes: \d+$", out, re.M)


def test_a_trial_trains_and_validates_but_writes_nothing(scenes, tmp_path, capfd, monkeypatch) -> None:
    validated: list[int] = []
    step = VQATask.validation_step
    monkeypatch.setattr(
        VQATask, "validation_step", lambda self, batch, n: (validated.append(n), step(self, batch, n))[1]
    )
    run_ok(*questions(scenes, tmp_path / "run", "trainer.fast_dev_run=true"))
    assert validated == [0]
    assert "writes: nothing (trainer.fast_dev_run)" in capfd.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_trial_leaves_the_run_in_its_folder_alone(scenes, tmp_path) -> None:
    run_ok(*questions(scenes, tmp_path / "run", "logger=csv"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    run_ok(*questions(scenes, tmp_path / "run", "trainer.fast_dev_run=true"))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("option", "shown"),
    [("trainer.profiler=simple", "optimizer_step"), ("trainer.enable_model_summary=true", "UpDownVQAModel")],
)
def test_tables_that_were_asked_for_are_printed(option, shown, scenes, tmp_path, capfd) -> None:
    run_ok(*questions(scenes, tmp_path / "run", option, "logger=csv", "trainer.max_epochs=1"))
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith(("|", "│", "0 "))]
    assert any(shown in line for line in lines)


def test_answers_are_shown_with_their_attention_and_the_answer_of_the_annotators(scenes, tmp_path) -> None:
    run_ok(*questions(scenes, tmp_path / "run", "logger=tensorboard", "callbacks.samples.count=2"))
    assert tags(tmp_path / "run")["images"] == ["val/samples/0", "val/samples/1"]
    texts = read_events(tmp_path / "run").Tensors("val/samples/1/text_summary")
    text = texts[-1].tensor_proto.string_val[0].decode()
    assert re.match(r"question: .+\s+answer: .+ \(0\.\d\d\), most given: .+", text, re.DOTALL)


def test_the_epochs_of_lines_and_rows_of_a_run_agree(scenes, tmp_path, capfd) -> None:
    run_ok(*questions(scenes, tmp_path / "run", "logger=csv"))
    shown = re.findall(r"^epoch (\d)/2", capfd.readouterr().out, re.M)
    with open(tmp_path / "run/metrics.csv", newline="") as file:
        assert [int(row["epoch"]) + 1 for row in csv.DictReader(file)] == [int(n) for n in shown]
