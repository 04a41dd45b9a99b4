"""From cross-entropy to rewards to captions, through the commands, on small scenes."""

import csv
import math
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from bua.engine.loading import read_checkpoint
from tests.helpers.captioners import captioners, rewarded, training
from tests.helpers.commands import run_error, run_ok


@pytest.fixture(scope="module")
def runs(scenes, tmp_path_factory) -> Path:
    return captioners(scenes, tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
def test_rewards_begin_with_the_weights_and_not_with_the_optimiser(runs, scenes, tmp_path) -> None:
    config = yaml.safe_load((runs / "scst/config.yaml").read_text())
    assert config["start"] == str(runs / "xe")
    assert config["optimizer"]["lr"] == 1e-3
    run_ok(*rewarded(scenes, tmp_path / "r", runs / "xe", "optimizer.lr=0.0"))
    before, after = (read_checkpoint(r / "checkpoints/best.ckpt")[1] for r in (runs / "xe", tmp_path / "r"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    state = torch.load(tmp_path / "r/checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
    assert int(state["state"][0]["step"]) == 2  # batches of this run alone


@pytest.mark.slow
def test_a_run_of_rewards_keeps_what_decides_them(runs) -> None:
    metrics = (runs / "scst/metrics.csv").read_text()
    for name in ("reward", "baseline", "advantage", "length", "entropy", "unfinished", "bad_endings"):
        assert f"train/{name}" in metrics
    assert (runs / "scst/document_frequencies.npz").stat().st_size > 0
    assert (runs / "scst/rewards.txt").read_text().startswith("1*CIDEr-D | with end | Sampling")


def losses(run: Path) -> list[float]:
    """Return the losses of training that a run noted."""
    with open(run / "metrics.csv") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


@pytest.mark.slow
def test_in_half_precision_a_captioner_learns_nearly_the_same_and_keeps_whole_weights(
    scenes, tmp_path
) -> None:
    for precision in ("32-true", "bf16-mixed"):
        half = f"trainer.precision={precision}"
        run_ok(*training(scenes, tmp_path / precision, "model.attention_size=6", half, "trainer.max_epochs=3"))
        run_ok(*rewarded(scenes, tmp_path / f"{precision} on", tmp_path / precision, half))
    whole, half = (losses(tmp_path / precision) for precision in ("32-true", "bf16-mixed"))
    assert len(whole) == 3
    assert half == pytest.approx(whole, rel=0.01)
    assert half != whole
    (loss,) = losses(tmp_path / "bf16-mixed on")
    assert math.isfinite(loss)
    _, state = read_checkpoint(tmp_path / "bf16-mixed on/checkpoints/last.ckpt")
    assert {weight.dtype for weight in state.values() if weight.is_floating_point()} == {torch.float32}


@pytest.mark.slow
def test_a_run_without_a_schedule_for_its_length_can_be_made_longer(runs, scenes, tmp_path) -> None:
    command = rewarded(scenes, tmp_path / "r", runs / "xe")
    run_ok(*command)
    run_ok(*command, "resume=true", "trainer.max_epochs=2")
    assert (tmp_path / "r/metrics.csv").read_text().count("\n1,") >= 1


@pytest.mark.slow
def test_frequencies_of_a_run_serve_another_of_the_same_captions_only(runs, scenes, tmp_path, capfd) -> None:
    table = f"objective.document_frequencies={runs}/scst/document_frequencies.npz"
    run_ok(*rewarded(scenes, tmp_path / "a", runs / "xe", table))
    line = run_error(capfd, *rewarded(scenes, tmp_path / "b", runs / "xe", table, "objective.reward.include_eos=false"))
    assert "document_frequencies.npz: document frequencies of end=True" in line


@pytest.mark.slow
def test_other_words_or_another_model_cannot_be_the_start(runs, scenes, tmp_path, capfd) -> None:
    capfd.readouterr()
    line = run_error(capfd, *rewarded(scenes, tmp_path / "a", runs / "xe", "data.vocabulary.min_count=9"))
    assert "xe: its vocabulary is not that of these data" in line
    line = run_error(capfd, *rewarded(scenes, tmp_path / "b", runs / "mean"))
    assert "its model is MeanPooledCaptioner, from which UpDownCaptioner cannot start" in line
    line = run_error(capfd, *training(scenes, tmp_path / "c", "objective=self_critical"))
    assert "start must be given: init_from=..." in line


@pytest.mark.slow
def test_a_compiled_run_is_loaded_as_any_other(scenes, tmp_path, monkeypatch) -> None:
    compiled: list[object] = []

    def compile(step, **options):
        compiled.append(step)
        return partial(step)  # what torch.compile makes is not a function of ours, either

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
