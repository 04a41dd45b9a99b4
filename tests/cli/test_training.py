"""What ``bua train`` keeps, tells and refuses."""

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


def words(scenes: Path, out: Path, *more: str) -> list[str]:
    """A training of 12 batches an epoch: 24 pictures with six questions each."""
    common = ["train", "experiment=vqa_scenes", f"scenes={scenes}", f"out={out}", "scheduler=constant"]
    return [*common, "data.batch_size=12", *more]


def rows(run: Path) -> list[dict[str, str]]:
    with open(run / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints/last.ckpt")[1]


def losses(monkeypatch: pytest.MonkeyPatch, task: type) -> list[float]:
    """Return a list that will hold the loss of every batch that a task is trained on."""
    seen: list[float] = []
    step = task.training_step

    def noted(self, batch, n):
        loss = step(self, batch, n)
        seen.append(float(loss))
        return loss

    monkeypatch.setattr(task, "training_step", noted)
    return seen


def equal(one: Path, other: Path) -> bool:
    return all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


@pytest.mark.parametrize("length", ["trainer.max_epochs=2", "trainer.max_steps=7"])
def test_a_training_that_ends_before_a_validation_is_due_keeps_its_weights(
    scenes, tmp_path, capfd, length
) -> None:
    never = ["trainer.check_val_every_n_epoch=5", length]
    assert main(words(scenes, tmp_path / "r", *never)) == 0
    assert "no validation was due; the last weights are what it has" in capfd.readouterr().out
    assert not (tmp_path / "r/checkpoints/best.ckpt").exists()
    out = tmp_path / "a.json"
    questions = f"questions={scenes}/questions_test.json"
    assert main(["predict", f"run={tmp_path}/r", questions, f"out={out}"]) == 0
    assert json.loads(out.read_text())


def test_epochs_after_the_last_validation_are_kept(scenes, tmp_path) -> None:
    assert (
        main(words(scenes, tmp_path / "r", "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3")) == 0
    )
    last = torch.load(tmp_path / "r/checkpoints/last.ckpt", weights_only=True)
    best = torch.load(tmp_path / "r/checkpoints/best.ckpt", weights_only=True)
    assert (last["global_step"], best["global_step"]) == (36, 24)


def test_an_epoch_that_steps_cut_goes_on_where_it_stopped(scenes, tmp_path) -> None:
    assert main(words(scenes, tmp_path / "whole", "trainer.max_epochs=2")) == 0
    assert main(words(scenes, tmp_path / "cut", "trainer.max_epochs=2", "trainer.max_steps=17")) == 0
    assert not equal(tmp_path / "cut", tmp_path / "whole")
    assert main(words(scenes, tmp_path / "cut", "trainer.max_epochs=2", "resume=true")) == 0
    assert int(rows(tmp_path / "cut")[-1]["step"]) == 24
    last = [float(rows(tmp_path / name)[-1]["train/loss"]) for name in ("cut", "whole")]
    assert last[0] == pytest.approx(last[1], rel=1e-5)  # of the whole epoch
    assert equal(tmp_path / "cut", tmp_path / "whole")


def test_a_schedule_for_so_many_steps_does_not_go_on_for_more(scenes, tmp_path, capfd) -> None:
    cycle = ["scheduler=one_cycle", "trainer.max_epochs=2"]
    assert main(words(scenes, tmp_path / "r", *cycle, "trainer.max_steps=7")) == 0
    assert main(words(scenes, tmp_path / "r", *cycle, "resume=true")) == 2
    assert "its schedule was made for trainer.max_steps=7" in capfd.readouterr().err


def test_what_is_told_of_an_epoch_is_the_mean_of_its_batches(scenes, tmp_path, monkeypatch) -> None:
    seen = losses(monkeypatch, VQATask)
    assert main(words(scenes, tmp_path / "r", "trainer.max_epochs=2")) == 0
    told = [float(row["train/loss"]) for row in rows(tmp_path / "r")]
    assert told == pytest.approx([sum(seen[:12]) / 12, sum(seen[12:]) / 12], rel=1e-5)
    status = json.loads((tmp_path / "r/status.json").read_text())
    assert status["metrics"]["train/loss"] == pytest.approx(told[-1], rel=1e-5)


def test_what_is_told_of_validations_within_an_epoch_is_the_mean_since_the_one_before(
    scenes, tmp_path, monkeypatch
) -> None:
    seen = losses(monkeypatch, VQATask)
    within = ["trainer.check_val_every_n_epoch=null", "+trainer.val_check_interval=5", "trainer.max_epochs=1"]
    assert main(words(scenes, tmp_path / "r", *within)) == 0
    told = {int(row["step"]): float(row["train/loss"]) for row in rows(tmp_path / "r")}
    means = {5: sum(seen[:5]) / 5, 10: sum(seen[5:10]) / 5, 12: sum(seen[10:]) / 2}
    assert told == pytest.approx(means, rel=1e-5)


def test_a_validation_within_an_epoch_has_a_row_however_it_is_asked_for(scenes, tmp_path) -> None:
    assert main(words(scenes, tmp_path / "r", "+trainer.val_check_interval=0.5", "trainer.max_epochs=2")) == 0
    told = rows(tmp_path / "r")
    assert [int(row["step"]) for row in told] == [6, 12, 18, 24]
    assert all(row["val/accuracy"] for row in told)


def test_a_killed_epoch_that_goes_on_is_told_of_as_a_whole(scenes, tmp_path, monkeypatch) -> None:
    assert main(words(scenes, tmp_path / "whole", "trainer.max_epochs=1")) == 0
    step = VQATask.training_step

    def killed(self, batch, n):
        if n == 10:
            raise KeyboardInterrupt
        return step(self, batch, n)

    with monkeypatch.context() as patch:
        patch.setattr(VQATask, "training_step", killed)
        assert main(words(scenes, tmp_path / "r", "trainer.max_epochs=1", "save_every=8")) == 130
    assert main(words(scenes, tmp_path / "r", "trainer.max_epochs=1", "save_every=8", "resume=true")) == 0
    one, other = (float(rows(tmp_path / name)[-1]["train/loss"]) for name in ("r", "whole"))
    assert one == pytest.approx(other, rel=1e-5)


def test_a_finished_run_that_is_resumed_keeps_its_numbers(scenes, tmp_path) -> None:
    command = words(scenes, tmp_path / "r", "trainer.max_epochs=1")
    assert main(command) == 0
    before = json.loads((tmp_path / "r/status.json").read_text())["metrics"]
    assert main([*command, "resume=true"]) == 0
    assert json.loads((tmp_path / "r/status.json").read_text())["metrics"] == before
    assert "val/accuracy" in before


def test_a_stop_that_is_not_allowed_yet_saves_no_more_than_a_run_without_one(
    scenes, tmp_path, monkeypatch
) -> None:
    saved: list[int] = []
    save = Trainer.save_checkpoint

    def noted(self, path, *more, **options):
        if Path(path).name == "last.ckpt":
            saved.append(self.global_step)
        save(self, path, *more, **options)

    monkeypatch.setattr(Trainer, "save_checkpoint", noted)
    least = ["+trainer.min_epochs=4", "trainer.max_epochs=6", "patience=0", "optimizer.lr=1e-9"]
    assert main(words(scenes, tmp_path / "r", *least)) == 0
    assert len(saved) <= 6


def test_losses_of_parts_of_a_detector_are_those_of_their_epoch(scenes, tmp_path, monkeypatch) -> None:
    seen = losses(monkeypatch, DetectionTask)
    few = ["trainer.max_epochs=2", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]
    command = ["train", "experiment=detector_scenes", f"scenes={scenes}", f"out={tmp_path}/r", *few]
    assert main([*command, "data.batch_size=1", "scheduler=constant", "trainer.accelerator=cpu"]) == 0
    for n, row in enumerate(rows(tmp_path / "r")):
        parts = [float(row[name]) for name in row if name.startswith("train/") and name != "train/loss"]
        assert sum(parts) == pytest.approx(float(row["train/loss"]), rel=1e-4)
        assert float(row["train/loss"]) == pytest.approx(sum(seen[2 * n : 2 * n + 2]) / 2, rel=1e-4)


def test_a_run_that_kept_nothing_is_begun_anew(scenes, tmp_path, capfd) -> None:
    assert main(words(scenes, tmp_path / "r", "model.attention.feature_size=7", "trainer.max_steps=1")) == 2
    assert json.loads((tmp_path / "r/status.json").read_text())["state"] == "failed"
    assert main(words(scenes, tmp_path / "r", "trainer.max_steps=1")) == 0


def test_an_error_that_is_not_about_sizes_is_not_said_to_be(scenes, tmp_path, monkeypatch) -> None:
    def broken(self, batch, n):
        raise RuntimeError("unable to resize shared memory")

    monkeypatch.setattr(VQATask, "training_step", broken)
    with pytest.raises(RuntimeError, match="shared memory"):
        main(words(scenes, tmp_path / "r", "model.dropout=0.1"))


def test_options_that_are_refused_leave_nothing_that_is_in_the_way(scenes, tmp_path, capfd) -> None:
    wrong = ["ema=0", "init_from=nowhere", "data.batch_size=0", "monitor=val/x trainer.precision=half"]
    for change in wrong:
        assert main(words(scenes, tmp_path / "r", *change.split())) == 2
        assert not (tmp_path / "r/status.json").exists()
    assert main(words(scenes, tmp_path / "r", "trainer.max_steps=1")) == 0
    capfd.readouterr()
    assert main(words(scenes, tmp_path / "r", "trainer.max_steps=1")) == 2
    assert "a run is there already (done); give resume=true" in capfd.readouterr().err


def test_a_size_that_the_data_decide_is_refused(scenes, tmp_path, capfd) -> None:
    assert main(words(scenes, tmp_path / "r", "model.vocabulary_size=5")) == 2
    assert "model.vocabulary_size=5: the data decide it" in capfd.readouterr().err


def test_sizes_that_do_not_fit_each_other_are_one_line(scenes, tmp_path, capfd) -> None:
    assert main(words(scenes, tmp_path / "r", "model.attention.feature_size=7")) == 2
    line = capfd.readouterr().err.strip()
    assert "model.attention.feature_size=7: sizes that do not fit each other" in line
    assert "\n" not in line


CHANGED = ("gradient_clip_val=0.1", "gradient_clip_algorithm=value", "+accumulate_grad_batches=2")


def test_there_are_options_that_must_not_change() -> None:
    assert len(CHANGED) == 3


@pytest.mark.parametrize("change", CHANGED)
def test_a_run_does_not_go_on_with_other_gradients(scenes, tmp_path, capfd, change) -> None:
    assert main(words(scenes, tmp_path / "r", "trainer.max_epochs=1")) == 0
    again = [change.replace("gradient", "trainer.gradient").replace("+accum", "+trainer.accum")]
    again += ["trainer.max_epochs=2", "resume=true"]
    assert main(words(scenes, tmp_path / "r", *again)) == 2
    name = change.strip("+").partition("=")[0]
    assert f"trainer.{name} is not that of the run" in capfd.readouterr().err


def test_a_start_of_another_model_is_told_by_name(scenes, tmp_path, capfd) -> None:
    assert main(words(scenes, tmp_path / "a", "trainer.max_steps=1", "model=question_only_small")) == 0
    assert main(words(scenes, tmp_path / "b", f"init_from={tmp_path}/a")) == 2
    line = capfd.readouterr().err.strip()
    assert "its model is QuestionOnlyVQAModel, from which UpDownVQAModel cannot start" in line
    assert len(line) < 300
    shutil.rmtree(tmp_path / "a")
    counter = "model.counter={_target_:bua.models.vqa.counting.Counter,objects:10}"
    assert main(words(scenes, tmp_path / "a", "trainer.max_steps=1", counter)) == 0
    assert main(words(scenes, tmp_path / "b", f"init_from={tmp_path}/a")) == 2
    line = capfd.readouterr().err.strip()
    assert "its weights do not fit the model: counter:" in line
    assert len(line) < 400
