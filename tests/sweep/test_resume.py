"""Sweeps that are killed at any moment go on, and end as if nothing had happened."""

import multiprocessing

import pytest
import torch

from bua.sweep.directory import SweepDirectory
from tests.helpers.captioners import training
from tests.helpers.commands import run_error, run_ok, train_until_killed

JOBS = [
    "model.attention_size=6",
    "-m",
    "seed=0,1",
    "hydra/launcher=basic",
    "save_every=1",
    "data.batch_size=60",
]


def results(path) -> dict[str, dict[str, float]]:
    jobs = SweepDirectory(path).jobs()
    assert all(job.state == "done" for job in jobs)
    return {job.path.name: job.metrics for job in jobs}


def test_a_sweep_that_is_killed_ten_times_ends_as_an_undisturbed_one(scenes, tmp_path, capfd) -> None:
    epochs = "trainer.max_epochs=8"
    in_child(*training(scenes, tmp_path / "whole", epochs, *JOBS))
    train_until_killed(1, *training(scenes, tmp_path / "killed", epochs, *JOBS))
    for kill in range(9):
        train_until_killed(1 + kill % 2, "sweep", "resume", tmp_path / "killed")
    states = [job.state for job in SweepDirectory(tmp_path / "killed").jobs()]
    assert states.count("killed") == 1
    capfd.readouterr()
    run_ok("sweep", "status", tmp_path / "killed")
    first, *others = capfd.readouterr().out.splitlines()
    assert "1 killed" in first
    assert [line.partition(":")[2] for line in others] == [" killed"]
    in_child("sweep", "resume", tmp_path / "killed")
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def in_child(*arguments: object) -> None:
    """Run a command in a forked process, so that this one keeps its state."""
    process = multiprocessing.get_context("fork").Process(target=run_with_one_thread, args=arguments)
    process.start()
    process.join(300)
    assert process.exitcode == 0


def run_with_one_thread(*arguments: object) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    run_ok(*arguments)


def test_a_sweep_is_not_started_twice_nor_taken_for_another(scenes, tmp_path, capfd) -> None:
    command = training(scenes, tmp_path / "s", *JOBS)
    line = run_error(capfd, *command, "resume=true")
    assert line == f"bua train: {tmp_path}/s: holds no sweep to resume; leave out resume=true"
    train_until_killed(1, *command)
    assert "holds this sweep already; bua sweep resume" in run_error(capfd, *command)
    other = [word.replace("seed=0,1", "seed=3,4") for word in command]
    assert "holds another sweep (bua train -m experiment=caption_scenes" in run_error(capfd, *other)
    assert f"{tmp_path}/s/seed=0: holds no sweep (it holds a run)" in run_error(
        capfd, "sweep", "status", tmp_path / "s/seed=0"
    )
    assert "holds no sweep; bua train -m out=DIR writes one" in run_error(capfd, "sweep", "table", tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=interval(1e-4,1e-2)"], "needs a sweeper that draws values: hparams_search=optuna"),
        (
            ["hydra/sweeper=optuna", "optimizer.lr=interval(1e-4,1e-2)"],
            "the best val/CIDEr needs hydra.sweeper.direction=maximize",
        ),
        (
            ["hparams_search=optuna", "hydra.sweeper.direction=maximize", "monitor=val/loss"],
            "direction=minimize",
        ),
        (["trainer.devices=2", "seed=0", "hydra/launcher=basic"], "use hydra/launcher=processes, not basic"),
        (["hydra.launcher.n_jobs=0", "seed=0"], "hydra.launcher.n_jobs=0: must be an integer of at least 1"),
    ],
)
def test_sweeps_that_cannot_work_are_refused_with_the_way_that_does(
    words, message, scenes, tmp_path, capfd
) -> None:
    command = training(scenes, tmp_path / "s", "-m", *words)
    assert message in run_error(capfd, *command)
    assert not (tmp_path / "s").exists() or not list((tmp_path / "s").glob("*/status.json"))


def test_a_search_without_a_sweep_is_refused(scenes, tmp_path, capfd) -> None:
    line = run_error(capfd, *training(scenes, tmp_path / "s", "hparams_search=optuna"))
    assert line == "bua train: hparams_search=optuna: is for sweeps; add -m"
