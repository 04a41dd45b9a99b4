"""Loggers: which of them a run has, what they are sent, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bua.cli import main
from bua.engine import loggers as module
from tests.helpers.commands import run_error, run_ok
from tests.helpers.events import read_events, scalars, tags

SMALL = ["model.hidden_size=16", "model.word_size=8", "model.attention_size=8", "scheduler=constant"]


def captions(scenes: Path, out: Path, *more: str) -> list[str]:
    """Return the command of a training of two epochs of five steps."""
    words = ["train", "experiment=caption_scenes", f"scenes={scenes}", f"out={out}", *SMALL]
    return [*words, "data.batch_size=5", "trainer.max_epochs=2", "trainer.log_every_n_steps=2", *more]


def questions(scenes: Path, out: Path, *more: str) -> list[str]:
    """Return the command of a training of one epoch on questions."""
    words = ["train", "experiment=vqa_scenes", f"scenes={scenes}", f"out={out}", "scheduler=constant"]
    return [*words, "data.answers.min_count=1", "trainer.max_epochs=1", *more]


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory) -> Path:
    """A captioner that was trained with the default loggers."""
    out = tmp_path_factory.mktemp("loggers") / "run"
    run_ok(*captions(scenes, out))
    return out


def test_metrics_and_the_learning_rate_go_to_tensorboard_by_default(run) -> None:
    rows = (run / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/CIDEr")
    assert list(scalars(run, "val/CIDEr").values()) == pytest.approx(
        [float(row.split(",")[column]) for row in rows[1:]]
    )
    assert list(scalars(run, "lr-Adam").values()) == pytest.approx([3e-3] * 5)
    assert "lr" not in rows[0]


def test_hyperparameters_and_the_commit_go_to_tensorboard_with_the_best_value(run) -> None:
    logged = (run / "tensorboard/hparams.yaml").read_text()
    assert "lr: 0.003" in logged
    assert "commit:" in logged
    best = json.loads((run / "status.json").read_text())["metrics"]["best/val/CIDEr"]
    assert list(scalars(run, "best/val/CIDEr").values()) == [pytest.approx(best)]


def test_captions_are_shown_with_their_attention_at_every_validation(run) -> None:
    assert tags(run)["images"] == [f"val/samples/{n}" for n in range(3)]
    pictures = read_events(run).Images("val/samples/0")
    assert [picture.step for picture in pictures] == [5, 10]
    texts = read_events(run).Tensors("val/samples/0/text_summary")
    shown = texts[-1].tensor_proto.string_val[0].decode()
    assert shown.startswith("caption: ")
    assert "references: " in shown


def test_a_training_is_the_same_without_loggers_and_samples(run, scenes, tmp_path) -> None:
    run_ok(*captions(scenes, tmp_path / "csv", "logger=csv", "callbacks.samples=null"))
    found, expected = ((r / "metrics.csv").read_text().splitlines() for r in (tmp_path / "csv", run))
    for row, other in zip(found, expected, strict=True):
        assert row.split(",")[3:] == other.split(",")[3:]
    assert not (tmp_path / "csv/tensorboard").exists()


def test_several_loggers_are_used_at_once_and_resume_their_runs(scenes, tmp_path) -> None:
    pytest.importorskip("wandb")
    both = ["logger=[tensorboard,wandb]", "logger.wandb.offline=true", "trainer.max_epochs=1"]
    run_ok(*questions(scenes, tmp_path / "run", *both))
    identity = json.loads((tmp_path / "run/loggers.json").read_text())["wandb"]
    files = sorted((tmp_path / "run/wandb/wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))
    assert len(files) == 1
    assert list((tmp_path / "run/wandb/wandb").glob("offline-run-*/files/media/images/val/samples_*.png"))
    assert "val/accuracy" in tags(tmp_path / "run")["scalars"]
    run_ok("train", f"run={tmp_path / 'run'}", "resume=true", "trainer.max_epochs=2")
    files = sorted((tmp_path / "run/wandb/wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))
    assert len(list(files[0].parent.parent.glob("offline-run-*"))) == len(files)
    assert len(scalars(tmp_path / "run", "val/accuracy")) == 2


def test_mlflow_gets_metrics_and_pictures_and_resumes_its_run(scenes, tmp_path) -> None:
    mlflow = pytest.importorskip("mlflow")
    address = f"sqlite:///{tmp_path}/mlflow.db"
    place = [f"logger.mlflow.tracking_uri={address}", f"+logger.mlflow.artifact_location={tmp_path}/files"]
    run_ok(*questions(scenes, tmp_path / "run", "logger=mlflow", *place))
    run_ok("train", f"run={tmp_path / 'run'}", "resume=true", "trainer.max_epochs=2")
    client = mlflow.MlflowClient(address)
    [found] = client.search_runs(client.get_experiment_by_name("bua").experiment_id)
    assert len(client.get_metric_history(found.info.run_id, "val/accuracy")) == 2
    assert len(list((tmp_path / "files").rglob("*.png"))) == 6
    assert found.data.params["optimizer/lr"] == "0.006"


def test_a_logger_of_lightning_is_added_by_its_class(scenes, tmp_path) -> None:
    mine = ["logger=csv", "+logger.mine._target_=pytorch_lightning.loggers.CSVLogger"]
    run_ok(*questions(scenes, tmp_path / "run", *mine))
    assert "val/accuracy" in next((tmp_path / "run/mine").rglob("metrics.csv")).read_text()


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    scenes, tmp_path, capfd, monkeypatch
) -> None:
    monkeypatch.setitem(module.PACKAGES, "WandbLogger", "not_installed")
    line = run_error(capfd, *questions(scenes, tmp_path / "run", "logger=wandb"))
    assert line.endswith(
        "logger.wandb: the package not_installed is not installed; pip install not_installed"
    )
    assert not (tmp_path / "run").exists()


def test_tensorboard_is_left_out_by_default_where_it_is_not_installed(
    scenes, tmp_path, capfd, monkeypatch
) -> None:
    monkeypatch.setitem(module.PACKAGES, "TensorBoardLogger", "not_installed")
    run_ok(*questions(scenes, tmp_path / "run"))
    assert f"writes: {tmp_path}/run, with metrics.csv\n" in capfd.readouterr().out
    line = run_error(capfd, *questions(scenes, tmp_path / "other", "logger=tensorboard"))
    assert "logger.tensorboard: the package not_installed is not installed" in line


def test_a_logger_that_cannot_start_is_reported_in_one_line(scenes, tmp_path, capfd, monkeypatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # without a login
    assert main(questions(scenes, tmp_path / "run", "logger=wandb")) == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("bua train: logger.wandb: ")
    assert "logger.wandb.offline=true" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.logger=false"], "trainer.logger: choose loggers with logger=NAME: csv, tensorboard"),
        (["+trainer.logger=true"], "trainer.logger=True: choose loggers with logger=NAME"),
        (["+logger.mine=wandb"], "logger.mine=wandb: must have a class: logger.mine._target_=CLASS"),
        (["logger=wand"], "there is no logger=wand; did you mean 'wandb'?"),
        (
            ["+logger.mine._target_=pytorch_lightning.callbacks.Timer"],
            "logger.mine: pytorch_lightning.callbacks.Timer: must be derived from",
        ),
    ],
)
def test_what_is_no_logger_is_refused_in_one_line(words, message, scenes, tmp_path, capfd) -> None:
    assert message in run_error(capfd, *questions(scenes, tmp_path / "run", *words))
    assert not (tmp_path / "run").exists()


def test_pictures_go_to_every_logger_that_has_a_method_for_them() -> None:
    class Own:
        def log_image(self, key, images, step=None, **kwargs) -> None:
            self.found = key, len(images), step, kwargs

    class Plain:
        pass

    own = Own()
    picture = Image.fromarray(np.zeros((2, 2, 3), np.uint8))
    module.log_pictures([own, Plain()], "val/samples", [picture], ["a caption"], 7)
    assert own.found == ("val/samples", 1, 7, {"caption": ["a caption"]})
    assert not module.shows_pictures(Plain())
