"""A training that was killed at any step resumes to the weights and metrics of one that was not."""

import csv
import json
from pathlib import Path

import pytest
import torch

from bua.engine.loading import read_checkpoint
from tests.helpers.commands import run_error, run_ok, train_until_killed
from tests.helpers.data import write_json
from tests.helpers.parity import ROOT

pytestmark = pytest.mark.slow

#: Every schedule, and the batch in which the training is killed: within the first or second epoch.
SCHEDULERS = {
    path.stem: 1 + 2 * n % 9 for n, path in enumerate(sorted((ROOT / "conf/scheduler").glob("*.yaml")))
}
#: Options that schedules need for a training of ten steps.
SCHEDULER_OPTIONS = {
    "noam": ["scheduler.size=24", "scheduler.warmup=4"],
    "poly": ["scheduler.total_iters=20"],
}


def metrics(run: Path) -> list[dict[str, str]]:
    """Return the rows of the metrics of a run, without how long they took."""
    with open(run / "metrics.csv", newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)
        ]


def assert_resumes_exactly(tmp_path: Path, words: list[str], batch: int) -> None:
    """Train, and train again with a kill in one batch; both must end with the same weights and metrics."""
    run_ok(*words, f"out={tmp_path}/whole")
    train_until_killed(batch, *words, f"out={tmp_path}/run")
    run_ok(*words, f"out={tmp_path}/run", "resume=true")
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    for name in ("last", "best"):
        resumed, whole = (
            read_checkpoint(tmp_path / run / f"checkpoints/{name}.ckpt")[1] for run in ("run", "whole")
        )
        for key, value in whole.items():
            assert torch.equal(resumed[key], value), (name, key)


def caption_training(scenes: Path, *more: str) -> list[str]:
    """Return the command of a training of two epochs of five batches."""
    small = ["model.hidden_size=24", "model.word_size=16", "model.attention_size=12"]
    common = [
        "train",
        "experiment=caption_scenes",
        f"scenes={scenes}",
        *small,
        "callbacks.last.every_n_steps=1",
    ]
    return [*common, "data.batch_size=5", "trainer.max_epochs=2", *more]


def test_there_are_schedulers() -> None:
    assert len(SCHEDULERS) >= 9


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_training_resumes_exactly_with_every_scheduler(scheduler: str, scenes, tmp_path) -> None:
    words = caption_training(scenes, f"scheduler={scheduler}", *SCHEDULER_OPTIONS.get(scheduler, []))
    assert_resumes_exactly(tmp_path, words, SCHEDULERS[scheduler])


OPTIONS = {
    "workers": (6, ["data.num_workers=2"]),
    "sampled captions": (7, ["data.captions_per_image=2"]),
    "steps between checkpoints": (6, ["callbacks.last.every_n_steps=3"]),
    "average of the weights": (7, ["callbacks.ema.decay=0.9"]),
    "truncated epochs": (4, ["trainer.limit_train_batches=3"]),
    "validations within an epoch": (
        8,
        ["+trainer.val_check_interval=2", "callbacks.last.every_n_steps=null"],
    ),
    "accumulated gradients": (
        8,
        [
            "+trainer.accumulate_grad_batches=3",
            "+trainer.val_check_interval=2",
            "callbacks.last.every_n_steps=null",
        ],
    ),
    "scheduled sampling": (
        4,
        [
            "objective.sampling.increment=0.4",
            "objective.sampling.every_n_epochs=1",
            "objective.sampling.max_prob=0.5",
        ],
    ),
    "early stopping": (
        7,
        ["callbacks.early_stopping.patience=1", "trainer.max_epochs=6", "optimizer.lr=0.0"],
    ),
}


@pytest.mark.parametrize("options", OPTIONS)
def test_training_resumes_exactly_with_every_kind_of_option(options: str, scenes, tmp_path) -> None:
    batch, words = OPTIONS[options]
    assert_resumes_exactly(tmp_path, caption_training(scenes, *words), batch)


def test_self_critical_training_resumes_exactly(scenes, tmp_path) -> None:
    run_ok(*caption_training(scenes, f"out={tmp_path}/xe"))
    rewards = ["objective=self_critical", f"init_from={tmp_path}/xe", "optimizer.lr=1e-3"]
    assert_resumes_exactly(tmp_path, caption_training(scenes, *rewards), batch=4)


def test_vqa_training_in_pairs_resumes_exactly(scenes, tmp_path) -> None:
    ids = [q["question_id"] for q in json.loads((scenes / "questions_train.json").read_text())["questions"]]
    pairs = write_json(tmp_path, list(zip(ids[:40:2], ids[1:41:2], strict=True)), "pairs.json")
    words = [
        "train",
        "experiment=vqa_scenes",
        f"scenes={scenes}",
        f"data.pairs={pairs}",
        "callbacks.last.every_n_steps=2",
    ]
    words += ["data.batch_size=24", "trainer.max_epochs=2", "data.num_workers=1"]
    assert_resumes_exactly(tmp_path, words, batch=9)


def test_detection_training_resumes_exactly(scenes, tmp_path) -> None:
    words = [
        "train",
        "experiment=detector_scenes",
        f"scenes={scenes}",
        "callbacks.last.every_n_steps=1",
        "data.batch_size=1",
    ]
    words += ["trainer.max_epochs=2", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]
    assert_resumes_exactly(tmp_path, [*words, "trainer.accelerator=cpu"], batch=3)


def test_an_epoch_cannot_be_continued_by_more_processes(scenes, tmp_path, capfd) -> None:
    words = caption_training(scenes, f"out={tmp_path}/run")
    train_until_killed(2, *words)
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    checkpoint["CaptionDataModule"]["world_size"] = 2
    torch.save(checkpoint, tmp_path / "run/checkpoints/last.ckpt")
    line = run_error(capfd, *words, "resume=true")
    assert "within an epoch with as many processes (trainer.devices)=2, not 1; resume with the same" in line
