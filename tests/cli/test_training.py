"""``bua train``: checkpoints, metrics, resuming, and rejected options."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer

from bua.cli import main
from bua.engine.loading import read_checkpoint
from bua.tasks.detection import DetectionTask
from bua.tasks.vqa import VQATask

pytestmark = pytest.mark.slow


def command(scenes: Path, out: Path, *more: str) -> list[str]:
    """Return the command of a training of 12 batches an epoch: 24 images with six questions each."""
    common = ["train", "experiment=vqa_scenes", f"scenes={scenes}", f"out={out}", "scheduler=constant"]
    return [*common, "data.batch_size=12", *more]


def read_metrics(run: Path) -> list[dict[str, str]]:
    """Return the rows of the metrics of a run."""
    with open(run / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the last checkpoint."""
    return read_checkpoint(run / "checkpoints/last.ckpt")[1]


def record_losses(monkeypatch: pytest.MonkeyPatch, task: type) -> list[float]:
    """Return a list to which a task will append the loss of every training batch."""
    recorded: list[float] = []
    step = task.training_step

    def recording_step(self, batch, n):
        loss = step(self, batch, n)
        recorded.append(loss.item())
        return loss

    monkeypatch.setattr(task, "training_step", recording_step)
    return recorded


def have_equal_weights(one: Path, other: Path) -> bool:
    """Return whether the last checkpoints of two runs have the same weights."""
    return all(torch.equal(value, last_weights(other)[name]) for name, value in last_weights(one).items())


@pytest.mark.parametrize("length", ["trainer.max_epochs=2", "trainer.max_steps=7"])
def test_a_run_that_ends_before_its_first_validation_keeps_its_last_weights(
    scenes, tmp_path, capfd, length
) -> None:
    never = ["trainer.check_val_every_n_epoch=5", length]
    assert main(command(scenes, tmp_path / "r", *never)) == 0
    assert "no validation was due, so only last.ckpt was saved" in capfd.readouterr().out
    assert not (tmp_path / "r/checkpoints/best.ckpt").exists()
    out = tmp_path / "a.json"
    questions = f"questions={scenes}/questions_test.json"
    assert main(["predict", f"run={tmp_path}/r", questions, f"out={out}"]) == 0
    assert json.loads(out.read_text())


def test_the_last_checkpoint_has_the_epochs_after_the_last_validation(scenes, tmp_path) -> None:
    assert (
        main(command(scenes, tmp_path / "r", "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3"))
        == 0
    )
    last = torch.load(tmp_path / "r/checkpoints/last.ckpt", weights_only=True)
    best = torch.load(tmp_path / "r/checkpoints/best.ckpt", weights_only=True)
    assert (last["global_step"], best["global_step"]) == (36, 24)


def test_an_epoch_truncated_by_max_steps_resumes_where_it_stopped(scenes, tmp_path) -> None:
    assert main(command(scenes, tmp_path / "whole", "trainer.max_epochs=2")) == 0
    assert main(command(scenes, tmp_path / "cut", "trainer.max_epochs=2", "trainer.max_steps=17")) == 0
    assert not have_equal_weights(tmp_path / "cut", tmp_path / "whole")
    assert main(command(scenes, tmp_path / "cut", "trainer.max_epochs=2", "resume=true")) == 0
    assert int(read_metrics(tmp_path / "cut")[-1]["step"]) == 24
    last = [float(read_metrics(tmp_path / name)[-1]["train/loss"]) for name in ("cut", "whole")]
    assert last[0] == pytest.approx(last[1], rel=1e-5)  # the mean over the whole epoch
    assert have_equal_weights(tmp_path / "cut", tmp_path / "whole")


def test_a_run_whose_schedule_depends_on_its_length_cannot_be_extended(scenes, tmp_path, capfd) -> None:
    cycle = ["scheduler=one_cycle", "trainer.max_epochs=2"]
    assert main(command(scenes, tmp_path / "r", *cycle, "trainer.max_steps=7")) == 0
    assert main(command(scenes, tmp_path / "r", *cycle, "resume=true")) == 2
    assert "schedule was made for trainer.max_steps=7; resume with it" in capfd.readouterr().err


def test_the_metrics_of_an_epoch_are_means_of_its_batches(scenes, tmp_path, monkeypatch) -> None:
    recorded = record_losses(monkeypatch, VQATask)
    assert main(command(scenes, tmp_path / "r", "trainer.max_epochs=2")) == 0
    logged = [float(row["train/loss"]) for row in read_metrics(tmp_path / "r")]
    assert logged == pytest.approx([sum(recorded[:12]) / 12, sum(recorded[12:]) / 12], rel=1e-5)
    status = json.loads((tmp_path / "r/status.json").read_text())
    assert status["metrics"]["train/loss"] == pytest.approx(logged[-1], rel=1e-5)


def test_metrics_of_validations_within_an_epoch_are_means_since_the_previous_one(
    scenes, tmp_path, monkeypatch
) -> None:
    recorded = record_losses(monkeypatch, VQATask)
    within = ["trainer.check_val_every_n_epoch=null", "+trainer.val_check_interval=5", "trainer.max_epochs=1"]
    assert main(command(scenes, tmp_path / "r", *within)) == 0
    logged = {int(row["step"]): float(row["train/loss"]) for row in read_metrics(tmp_path / "r")}
    means = {5: sum(recorded[:5]) / 5, 10: sum(recorded[5:10]) / 5, 12: sum(recorded[10:]) / 2}
    assert logged == pytest.approx(means, rel=1e-5)


def test_every_validation_within_an_epoch_has_a_row(scenes, tmp_path) -> None:
    assert (
        main(command(scenes, tmp_path / "r", "+trainer.val_check_interval=0.5", "trainer.max_epochs=2")) == 0
    )
    logged = read_metrics(tmp_path / "r")
    assert [int(row["step"]) for row in logged] == [6, 12, 18, 24]
    assert all(row["val/accuracy"] for row in logged)


def test_a_finished_run_that_is_resumed_keeps_its_metrics(scenes, tmp_path) -> None:
    words = command(scenes, tmp_path / "r", "trainer.max_epochs=1")
    assert main(words) == 0
    before = json.loads((tmp_path / "r/status.json").read_text())["metrics"]
    assert main([*words, "resume=true"]) == 0
    assert json.loads((tmp_path / "r/status.json").read_text())["metrics"] == before
    assert "val/accuracy" in before


def test_early_stopping_before_min_epochs_saves_no_further_checkpoints(scenes, tmp_path, monkeypatch) -> None:
    saved: list[int] = []
    save = Trainer.save_checkpoint

    def recording_save(self, path, *more, **options):
        if Path(path).name == "last.ckpt":
            saved.append(self.global_step)
        save(self, path, *more, **options)

    monkeypatch.setattr(Trainer, "save_checkpoint", recording_save)
    least = [
        "+trainer.min_epochs=4",
        "trainer.max_epochs=6",
        "callbacks.early_stopping.patience=0",
        "optimizer.lr=1e-9",
    ]
    assert main(command(scenes, tmp_path / "r", *least)) == 0
    assert len(saved) <= 6


def test_the_losses_of_a_detector_are_means_of_their_epoch(scenes, tmp_path, monkeypatch) -> None:
    recorded = record_losses(monkeypatch, DetectionTask)
    few = ["trainer.max_epochs=2", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]
    command = ["train", "experiment=detector_scenes", f"scenes={scenes}", f"out={tmp_path}/r", *few]
    assert main([*command, "data.batch_size=1", "scheduler=constant", "trainer.accelerator=cpu"]) == 0
    for n, row in enumerate(read_metrics(tmp_path / "r")):
        parts = [float(row[name]) for name in row if name.startswith("train/") and name != "train/loss"]
        assert sum(parts) == pytest.approx(float(row["train/loss"]), rel=1e-4)
        assert float(row["train/loss"]) == pytest.approx(sum(recorded[2 * n : 2 * n + 2]) / 2, rel=1e-4)


def test_a_failed_run_without_checkpoint_can_be_started_anew(scenes, tmp_path, capfd) -> None:
    assert main(command(scenes, tmp_path / "r", "model.attention.feature_size=7", "trainer.max_steps=1")) == 2
    assert json.loads((tmp_path / "r/status.json").read_text())["state"] == "failed"
    assert main(command(scenes, tmp_path / "r", "trainer.max_steps=1")) == 0


def test_errors_that_are_not_about_sizes_are_raised_unchanged(scenes, tmp_path, monkeypatch) -> None:
    def broken(self, batch, n):
        raise RuntimeError("unable to resize shared memory")

    monkeypatch.setattr(VQATask, "training_step", broken)
    with pytest.raises(RuntimeError, match="shared memory"):
        main(command(scenes, tmp_path / "r", "model.dropout=0.1"))


def test_rejected_options_leave_no_run_behind(scenes, tmp_path, capfd) -> None:
    invalid = [
        "callbacks.ema.decay=0",
        "init_from=nowhere",
        "data.batch_size=0",
        "monitor=val/x trainer.precision=half",
    ]
    for change in invalid:
        assert main(command(scenes, tmp_path / "r", *change.split())) == 2
        assert not (tmp_path / "r/status.json").exists()
    assert main(command(scenes, tmp_path / "r", "trainer.max_steps=1")) == 0
    capfd.readouterr()
    assert main(command(scenes, tmp_path / "r", "trainer.max_steps=1")) == 2
    assert "already holds a run (done); give resume=true" in capfd.readouterr().err


def test_sizes_that_the_data_determine_are_rejected(scenes, tmp_path, capfd) -> None:
    assert main(command(scenes, tmp_path / "r", "model.vocabulary_size=5")) == 2
    assert "model.vocabulary_size=5: is determined by the data" in capfd.readouterr().err


def test_sizes_that_do_not_fit_each_other_are_reported_in_one_line(scenes, tmp_path, capfd) -> None:
    assert main(command(scenes, tmp_path / "r", "model.attention.feature_size=7")) == 2
    line = capfd.readouterr().err.strip()
    assert "model.attention.feature_size=7: incompatible sizes" in line
    assert "\n" not in line


CHANGED = ("gradient_clip_val=0.1", "gradient_clip_algorithm=value", "+accumulate_grad_batches=2")


def test_options_that_must_not_change_are_listed() -> None:
    assert len(CHANGED) == 3


@pytest.mark.parametrize("change", CHANGED)
def test_a_run_cannot_resume_with_other_options_of_its_gradients(scenes, tmp_path, capfd, change) -> None:
    assert main(command(scenes, tmp_path / "r", "trainer.max_epochs=1")) == 0
    again = [change.replace("gradient", "trainer.gradient").replace("+accum", "+trainer.accum")]
    again += ["trainer.max_epochs=2", "resume=true"]
    assert main(command(scenes, tmp_path / "r", *again)) == 2
    name = change.strip("+").partition("=")[0]
    assert f"trainer.{name} differs from that of the run" in capfd.readouterr().err


def test_init_from_a_run_of_another_model_is_reported(scenes, tmp_path, capfd) -> None:
    assert main(command(scenes, tmp_path / "a", "trainer.max_steps=1", "model=question_only_small")) == 0
    assert main(command(scenes, tmp_path / "b", f"init_from={tmp_path}/a")) == 2
    line = capfd.readouterr().err.strip()
    assert "its model is QuestionOnlyVQAModel, which cannot initialize UpDownVQAModel" in line
    assert len(line) < 300
    shutil.rmtree(tmp_path / "a")
    counter = "model.counter={_target_:bua.models.vqa.counting.Counter,objects:10}"
    assert main(command(scenes, tmp_path / "a", "trainer.max_steps=1", counter)) == 0
    assert main(command(scenes, tmp_path / "b", f"init_from={tmp_path}/a")) == 2
    line = capfd.readouterr().err.strip()
    assert "weights do not fit the model: counter:" in line
    assert len(line) < 400


@pytest.mark.parametrize(("monitor", "lowest"), [("val/loss", True), ("val/accuracy", False)])
def test_the_monitored_metric_has_its_own_direction(scenes, tmp_path, monkeypatch, monitor, lowest) -> None:
    """Losses and accuracies that rise: the first loss is best, and the last accuracy."""
    epochs = iter(range(1, 10))

    def rising(self) -> None:
        value = float(next(epochs))
        self.log("val/loss", value)
        self.log("val/accuracy", value)

    monkeypatch.setattr(VQATask, "validation_step", lambda self, batch, n: None)
    monkeypatch.setattr(VQATask, "on_validation_epoch_end", rising)
    words = [f"monitor={monitor}", "callbacks.early_stopping.patience=2", "trainer.max_epochs=5"]
    assert main(command(scenes, tmp_path / "r", *words)) == 0
    best = torch.load(tmp_path / "r/checkpoints/best.ckpt", weights_only=True)
    assert best["global_step"] == 12 * (1 if lowest else 5)
    assert len(read_metrics(tmp_path / "r")) == (3 if lowest else 5)  # patience
    metrics = json.loads((tmp_path / "r/status.json").read_text())["metrics"]
    assert metrics[f"best/{monitor}"] == (1 if lowest else 5)


def test_a_sweep_gets_the_best_value_of_the_monitored_metric(scenes, tmp_path) -> None:
    words = command(scenes, tmp_path / "r", "trainer.max_epochs=4", "optimizer.lr=0.3")
    assert main(words) == 0
    rows = [float(row["val/accuracy"]) for row in read_metrics(tmp_path / "r")]
    metrics = json.loads((tmp_path / "r/status.json").read_text())["metrics"]
    assert metrics["best/val/accuracy"] == pytest.approx(max(rows))


def test_an_unknown_metric_is_refused_before_training(scenes, tmp_path, capfd) -> None:
    assert main(command(scenes, tmp_path / "r", "monitor=val/acuracy")) == 2
    line = capfd.readouterr().err
    assert "monitor=val/acuracy: must be one of val/accuracy, val/accuracy/" in line
    assert "did you mean 'val/accuracy'?" in line
    assert not (tmp_path / "r/status.json").exists()


def test_a_moved_run_resumes_with_its_best_value(scenes, tmp_path) -> None:
    words = ["trainer.max_epochs=2", "optimizer.lr=0.0"]
    assert main(command(scenes, tmp_path / "r", *words)) == 0
    (tmp_path / "r").rename(tmp_path / "moved")
    assert main(command(scenes, tmp_path / "moved", "trainer.max_epochs=3", *words[1:], "resume=true")) == 0
    best = torch.load(tmp_path / "moved/checkpoints/best.ckpt", weights_only=True)
    assert best["global_step"] == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["optimizer.lr=abc"], "optimizer.lr=abc: "),
        (["optimizer.lr=-1"], "optimizer.lr=-1: Invalid learning rate"),
        (["optimizer.lr=null"], "optimizer.lr=None: "),
        (["trainer.max_epochs=abc"], "trainer.max_epochs=abc: must be an integer of at least -1, or null"),
        (["trainer.max_epochs=1.5"], "trainer.max_epochs=1.5: must be an integer"),
        (["+trainer.logger=true"], "trainer.logger=True: choose loggers with logger=NAME: csv,"),
        (["+trainer.callbacks=[]"], "trainer.callbacks=[]: give callbacks with +callbacks.NAME._target_="),
        (
            ["callbacks.early_stopping.patience=2", "trainer.limit_val_batches=0"],
            "callbacks.early_stopping.patience=2: needs validations",
        ),
        (["scheduler=staircase", "scheduler.step_size=0"], "scheduler.step_size=0, scheduler.gamma=0.8: "),
    ],
)
def test_options_that_only_training_uses_are_checked_before_it(
    scenes, tmp_path, capfd, options, message
) -> None:
    assert main(command(scenes, tmp_path / "r", *options)) == 2
    assert f"bua train: {message}" in capfd.readouterr().err
    assert not (tmp_path / "r").exists()


def test_an_early_stop_says_why(scenes, tmp_path, capfd) -> None:
    few = ["trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "optimizer.lr=0.0"]
    assert (
        main(
            command(
                scenes, tmp_path / "r", "callbacks.early_stopping.patience=2", "trainer.max_epochs=5", *few
            )
        )
        == 0
    )
    best = float(read_metrics(tmp_path / "r")[0]["val/accuracy"])
    reason = "stopped in epoch 3: val/accuracy did not improve in 2 validations (patience=2), the best is"
    assert f"r: {reason} {best:.4g} of epoch 1, step 1\n" in capfd.readouterr().out


def test_a_stop_by_a_metric_that_is_not_finite_says_so(scenes, tmp_path, monkeypatch, capfd) -> None:
    values = iter([0.5, float("nan")])
    monkeypatch.setattr(VQATask, "validation_step", lambda self, batch, n: None)
    monkeypatch.setattr(
        VQATask, "on_validation_epoch_end", lambda self: self.log("val/accuracy", next(values))
    )
    assert (
        main(command(scenes, tmp_path / "r", "callbacks.early_stopping.patience=2", "trainer.max_epochs=5"))
        == 0
    )
    reason = "stopped in epoch 2: val/accuracy is not finite, the best is 0.5 of epoch 1, step "
    assert f"r: {reason}" in capfd.readouterr().out


@pytest.mark.parametrize("option", ["trainer.max_epochs=0", "trainer.limit_train_batches=0"])
@pytest.mark.parametrize("scheduler", ["one_cycle", "ban", "constant"])
def test_an_empty_training_says_that_nothing_was_saved(option, scheduler, scenes, tmp_path, capfd) -> None:
    words = [option, f"scheduler={scheduler}", "trainer.num_sanity_val_steps=0"]
    assert main(command(scenes, tmp_path / "empty", *words)) == 0
    assert "no step was trained, so no checkpoint was saved" in capfd.readouterr().out
    assert not list((tmp_path / "empty").rglob("*.ckpt"))


def test_a_schedule_over_all_steps_needs_an_end(scenes, tmp_path, capfd) -> None:
    assert main(command(scenes, tmp_path / "r", "scheduler=one_cycle", "trainer.max_epochs=-1")) == 2
    assert "the training has no end; give trainer.max_epochs=N" in capfd.readouterr().err
