"""bua train run=DIR resume=true: the options of a run are its own, and it may be trained longer."""

from pathlib import Path

import pytest
import torch
import yaml

from bua.engine.loading import read_checkpoint
from tests.helpers.commands import run_error, run_ok


def training(scenes: Path, out: Path, *more: str) -> list[str]:
    words = ["train", "experiment=vqa_scenes", f"scenes={scenes}", f"out={out}", "scheduler=constant"]
    return [*words, "data.answers.min_count=1", "trainer.max_epochs=1", "data.batch_size=36", *more]


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory) -> Path:
    """A run of one epoch, with options that differ from the defaults."""
    out = tmp_path_factory.mktemp("continued") / "run"
    run_ok(*training(scenes, out, "optimizer.lr=2e-3", "seed=4"))
    return out


def test_a_run_continues_from_its_folder_alone_as_if_it_had_been_longer(
    run, scenes, tmp_path, monkeypatch
) -> None:
    run_ok(*training(scenes, tmp_path / "whole", "optimizer.lr=2e-3", "seed=4", "trainer.max_epochs=3"))
    run.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    run_ok("train", "run=moved", "resume=true", "trainer.max_epochs=2")
    run_ok("train", "run=moved", "resume=true", "trainer.max_epochs=3")
    found, whole = (read_checkpoint(tmp_path / r / "checkpoints/last.ckpt")[1] for r in ("moved", "whole"))
    for name, value in whole.items():
        assert torch.equal(found[name], value), name
    config = yaml.safe_load((tmp_path / "moved/config.yaml").read_text())
    assert (config["trainer"]["max_epochs"], config["optimizer"]["lr"], config["seed"]) == (3, 2e-3, 4)
    assert "trainer.max_epochs=1" in (tmp_path / "moved/overrides.yaml").read_text()
    (tmp_path / "moved").rename(run)


def test_a_run_that_is_at_its_end_says_how_to_go_on(run, capfd) -> None:
    run_ok("train", f"run={run}", "resume=true")
    assert "was trained to its end before; a larger trainer.max_epochs= or" in capfd.readouterr().out


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(run, scenes, tmp_path) -> None:
    run_ok(*training(scenes, tmp_path / "run", "trainer.max_steps=1"))
    for path in (tmp_path / "run/checkpoints").iterdir():
        path.unlink()
    before = (tmp_path / "run/overrides.yaml").read_text()
    run_ok("train", f"run={tmp_path}/run", "resume=true")
    assert (tmp_path / "run/checkpoints/last.ckpt").exists()
    assert (tmp_path / "run/overrides.yaml").read_text() == before


def test_loggers_and_callbacks_may_change(run) -> None:
    words = ["logger=csv", "callbacks.early_stopping.patience=3", "data.num_workers=1"]
    run_ok("train", f"run={run}", "resume=true", *words)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["logger"] == {}
    assert config["callbacks"]["early_stopping"]["patience"] == 3
    assert config["callbacks"]["best"]["monitor"] == "val/accuracy"


def test_a_schedule_over_the_whole_training_refuses_a_longer_one(scenes, tmp_path, capfd) -> None:
    run_ok(*training(scenes, tmp_path / "run", "scheduler=one_cycle"))
    line = run_error(capfd, "train", f"run={tmp_path}/run", "resume=true", "trainer.max_epochs=2")
    assert "schedule was made for trainer.max_epochs=1; resume with it" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "continues a run; add resume=true"),
        (["resume=true", "optimizer.lr=1.0"], "has its own optimizer.lr; only trainer., callbacks, logger"),
        (["resume=true", "out=elsewhere"], "has its own out"),
        (["resume=true", "experiment=vqa_small"], "has its own experiment"),
        (["resume=true", "features=f.h5"], "has its own features"),
        (["resume=true", "-m"], "is one run; bua sweep resume continues a sweep"),
        (["resume=true", "trainer.max_epoch=3"], "there is no key 'trainer.max_epoch'; did you mean"),
        (["resume=true", "callbacks.ema.decay=0.9"], "callbacks.ema.decay differs from that of the run"),
        (["resume=true", "trainer.fast_dev_run=true"], "writes no run to resume"),
        (["resume=true", "trainer.max_epochs=0"], "trainer.max_epochs=0: "),
        (["resume=true", "trainer.precision=bf16-mixed"], "trainer.precision differs from that of the run"),
    ],
)
def test_what_a_run_must_keep_is_refused_in_one_line(run, words, message, capfd) -> None:
    assert message in run_error(capfd, "train", f"run={run}", *words)


def test_a_folder_without_a_run_is_refused(tmp_path, capfd) -> None:
    line = run_error(capfd, "train", f"run={tmp_path}", "resume=true")
    assert f"run={tmp_path}: holds no run to resume" in line
