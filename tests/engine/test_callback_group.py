"""Callbacks: changed, removed and added by key, and what is refused."""

import csv
from pathlib import Path

import pytest
import torch

from bua.engine.callback_group import monitor_mode
from bua.engine.callbacks import LastCheckpoint
from bua.errors import InputError
from bua.tasks.vqa import VQATask
from tests.helpers.commands import run_error, run_ok


def questions(scenes: Path, out: Path, *more: str) -> list[str]:
    """Return the command of a training of one epoch of two steps."""
    words = ["train", "experiment=vqa_scenes", f"scenes={scenes}", f"out={out}", "scheduler=constant"]
    return [*words, "data.answers.min_count=1", "trainer.max_epochs=1", "logger=csv", *more]


def test_a_callback_is_removed_by_its_key(scenes, tmp_path) -> None:
    run_ok(*questions(scenes, tmp_path / "null", "callbacks.best=null"))
    assert [path.name for path in (tmp_path / "null/checkpoints").iterdir()] == ["last.ckpt"]
    run_ok(*questions(scenes, tmp_path / "gone", "~callbacks.last"))
    assert [path.name for path in (tmp_path / "gone/checkpoints").iterdir()] == ["best.ckpt"]


def test_a_run_without_checkpoints_says_why(scenes, tmp_path, capfd) -> None:
    run_ok(*questions(scenes, tmp_path / "run", "~callbacks.last", "~callbacks.best"))
    assert "no checkpoint was saved, because both callbacks that save one were removed" in (
        capfd.readouterr().out
    )


def test_a_callback_of_lightning_is_added_by_its_class(scenes, tmp_path) -> None:
    added = [
        "+callbacks.all._target_=pytorch_lightning.callbacks.ModelCheckpoint",
        "+callbacks.all.save_top_k=-1",
    ]
    run_ok(*questions(scenes, tmp_path / "run", *added, "trainer.max_epochs=2"))
    names = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "epoch=0-step=2.ckpt", "epoch=1-step=4.ckpt"}


def test_the_metric_of_a_callback_has_a_mode_of_its_own(scenes, tmp_path, monkeypatch, capfd) -> None:
    losses = iter((1.0, 2.0, 3.0, 4.0))

    def rising(self) -> None:
        value = next(losses)
        self.log("val/loss", value)
        self.log("val/accuracy", value)

    monkeypatch.setattr(VQATask, "validation_step", lambda self, batch, n: None)
    monkeypatch.setattr(VQATask, "on_validation_epoch_end", rising)
    stop = ["callbacks.early_stopping.monitor=val/loss", "callbacks.early_stopping.patience=1"]
    run_ok(*questions(scenes, tmp_path / "run", *stop, "trainer.max_epochs=4"))
    with open(tmp_path / "run/metrics.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert best["global_step"] == 4  # of val/accuracy, which is best when high


def test_device_statistics_go_to_the_loggers(scenes, tmp_path) -> None:
    pytest.importorskip("psutil")
    from tests.helpers.events import tags

    both = ["callbacks=[default,device_stats]", "logger=tensorboard", "trainer.log_every_n_steps=1"]
    run_ok(*questions(scenes, tmp_path / "run", *both))
    assert any("cpu_percent" in tag for tag in tags(tmp_path / "run")["scalars"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.callbacks=[x]"], "trainer.callbacks: give callbacks with +callbacks.NAME._target_=CLASS"),
        (["trainer.enable_progress_bar=false"], "remove the progress bar with ~callbacks.progress"),
        (["callbacks.best=3"], "callbacks.best=3: must have a class"),
        (["callbacks.ema.decay=2.0"], "callbacks.ema.decay=2.0: must be a number between 0 and 1"),
        (["callbacks.last.every_n_steps=0"], "callbacks.last: every_n_steps=0: must be a number of steps"),
        (["callbacks.samples.count=0"], "callbacks.samples: "),
        (["callbacks.samples.images=nowhere"], "nowhere: must be a folder of photos, or null"),
        (["callbacks=[default,device_stats]"], "callbacks.device_stats: needs a logger"),
        (
            ["callbacks.early_stopping.monitor=val/los"],
            "callbacks.early_stopping.monitor=val/los: must be one of",
        ),
        (
            ["+callbacks.mine._target_=lightning.pytorch.callbacks.Timer"],
            "did you mean pytorch_lightning.callbacks.Timer?",
        ),
        (
            ["+callbacks.mine._target_=pytorch_lightning.loggers.CSVLogger", "+callbacks.mine.save_dir=x"],
            "callbacks.mine: pytorch_lightning.loggers.CSVLogger: must be derived from",
        ),
        (
            ["+callbacks.mine._target_=pytorch_lightning.callbacks.Timer", "+callbacks.mine.interval=x"],
            "callbacks.mine: pytorch_lightning.callbacks.Timer refuses its arguments",
        ),
        (["mode=best"], "mode=best: must be max, min or null"),
    ],
)
def test_a_wrong_callback_is_refused_in_one_line(words, message, scenes, tmp_path, capfd) -> None:
    assert message in run_error(capfd, *questions(scenes, tmp_path / "run", *words))
    assert not (tmp_path / "run").exists()


METRICS = {"val/accuracy": "max", "val/loss": "min"}


def test_a_metric_has_the_mode_that_is_good_for_it_unless_another_is_given() -> None:
    assert monitor_mode("", "val/loss", None, METRICS) == "min"
    assert monitor_mode("", "val/loss", "max", METRICS) == "max"
    assert monitor_mode("", "val/mine", "max", METRICS) == "max"


@pytest.mark.parametrize("mode", [None, "max"])
def test_a_typing_error_in_a_metric_is_refused_with_and_without_a_mode(mode) -> None:
    with pytest.raises(InputError, match="did you mean 'val/accuracy'"):
        monitor_mode("", "val/acuracy", mode, METRICS)


def test_a_metric_without_a_mode_must_be_one_of_the_objective() -> None:
    with pytest.raises(InputError, match="must be one of val/accuracy, val/loss, or give mode="):
        monitor_mode("", "speed", None, METRICS)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "x"])
def test_the_steps_between_checkpoints_are_a_positive_integer(steps, tmp_path) -> None:
    with pytest.raises(InputError, match="must be a number of steps"):
        LastCheckpoint(tmp_path / "last.ckpt", steps)
