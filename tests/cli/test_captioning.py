"""``bua train`` of captioners, by cross-entropy and then by rewards, on small scenes."""

import csv
import math
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from bua.engine.loading import read_checkpoint
from tests.helpers.captioners import reward_training, train_captioners, training
from tests.helpers.commands import run_error, run_ok


@pytest.fixture(scope="module")
def runs(scenes, tmp_path_factory) -> Path:
    return train_captioners(scenes, tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
def test_rewards_start_from_the_weights_but_not_the_optimizer_state(runs, scenes, tmp_path) -> None:
    config = yaml.safe_load((runs / "scst/config.yaml").read_text())
    assert config["init_from"] == str(runs / "xe")
    assert config["optimizer"]["lr"] == 1e-3
    run_ok(*reward_training(scenes, tmp_path / "r", runs / "xe", "optimizer.lr=0.0"))
    before, after = (read_checkpoint(r / "checkpoints/best.ckpt")[1] for r in (runs / "xe", tmp_path / "r"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    state = torch.load(tmp_path / "r/checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
    assert int(state["state"][0]["step"]) == 2  # batches of this run alone


@pytest.mark.slow
def test_a_run_of_rewards_records_its_metrics_and_options(runs) -> None:
    metrics = (runs / "scst/metrics.csv").read_text()
    for name in ("reward", "baseline", "advantage", "length", "entropy", "unfinished", "bad_endings"):
        assert f"train/{name}" in metrics
    assert (runs / "scst/document_frequencies.npz").stat().st_size > 0
    assert (runs / "scst/rewards.txt").read_text().startswith("1*CIDEr-D | with EOS | Sampling")


def losses(run: Path) -> list[float]:
    """Return the training losses in the metrics of a run."""
    with open(run / "metrics.csv") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


@pytest.mark.slow
def test_mixed_precision_trains_nearly_the_same_and_keeps_float32_weights(scenes, tmp_path) -> None:
    for precision in ("32-true", "bf16-mixed"):
        option = f"trainer.precision={precision}"
        run_ok(
            *training(scenes, tmp_path / precision, "model.attention_size=6", option, "trainer.max_epochs=3")
        )
        run_ok(*reward_training(scenes, tmp_path / f"{precision} rewards", tmp_path / precision, option))
    full, mixed = (losses(tmp_path / precision) for precision in ("32-true", "bf16-mixed"))
    assert len(full) == 3
    assert mixed == pytest.approx(full, rel=0.01)
    assert mixed != full
    (loss,) = losses(tmp_path / "bf16-mixed rewards")
    assert math.isfinite(loss)
    _, state = read_checkpoint(tmp_path / "bf16-mixed rewards/checkpoints/last.ckpt")
    assert {weight.dtype for weight in state.values() if weight.is_floating_point()} == {torch.float32}


@pytest.mark.slow
def test_a_run_whose_schedule_does_not_depend_on_its_length_can_be_extended(runs, scenes, tmp_path) -> None:
    command = reward_training(scenes, tmp_path / "r", runs / "xe")
    run_ok(*command)
    run_ok(*command, "resume=true", "trainer.max_epochs=2")
    assert (tmp_path / "r/metrics.csv").read_text().count("\n1,") >= 1


@pytest.mark.slow
def test_document_frequencies_can_be_reused_only_with_the_same_options(runs, scenes, tmp_path, capfd) -> None:
    table = f"objective.document_frequencies={runs}/scst/document_frequencies.npz"
    run_ok(*reward_training(scenes, tmp_path / "a", runs / "xe", table))
    line = run_error(
        capfd,
        *reward_training(scenes, tmp_path / "b", runs / "xe", table, "objective.reward.include_eos=false"),
    )
    assert "document_frequencies.npz: document frequencies of include_eos=True" in line


@pytest.mark.slow
def test_init_from_needs_a_run_of_the_same_vocabulary_and_model(runs, scenes, tmp_path, capfd) -> None:
    capfd.readouterr()
    line = run_error(
        capfd, *reward_training(scenes, tmp_path / "a", runs / "xe", "data.vocabulary.min_count=9")
    )
    assert "xe: its vocabulary is not that of these data" in line
    line = run_error(capfd, *reward_training(scenes, tmp_path / "b", runs / "mean"))
    assert "its model is MeanPooledCaptioner, which cannot initialize UpDownCaptioner" in line
    line = run_error(capfd, *training(scenes, tmp_path / "c", "objective=self_critical"))
    assert "init_from must be given: init_from=..." in line


@pytest.mark.slow
def test_a_compiled_run_predicts_like_any_other(scenes, tmp_path, monkeypatch) -> None:
    compiled: list[object] = []

    def compile(step, **options):
        compiled.append(step)
        return partial(step)  # like torch.compile, which does not return a function, either

    monkeypatch.setattr(torch, "compile", compile)
    run_ok(*training(scenes, tmp_path / "r", "model.attention_size=6", "compile=true"))
    trained = len(compiled)
    assert trained > 0
    _, state = read_checkpoint(tmp_path / "r/checkpoints/best.ckpt")
    assert "word.weight" in state
    common = ["predict", f"run={tmp_path}/r", "split=val"]
    run_ok(*common, f"out={tmp_path}/plain.json")
    assert len(compiled) == trained
    run_ok(*common, f"out={tmp_path}/compiled.json", "compile=true")
    assert len(compiled) > trained
    assert (tmp_path / "plain.json").read_text() == (tmp_path / "compiled.json").read_text()
