"""Damaged checkpoints and weights are noticed, a run has one owner, and a dead owner does not block it."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bua.detectors.pyramid import load_weights
from bua.engine import load
from bua.engine.loading import read_checkpoint
from bua.engine.run_directory import RunDirectory
from bua.errors import InputError
from tests.helpers.captioners import training
from tests.helpers.commands import run_error, run_ok, train_until_killed

SHIPPED = Path(str(files("bua.detectors.weights") / "scenes_fpn.safetensors"))
FORK = multiprocessing.get_context("fork")
MANY = [
    "data.batch_size=4",
    "callbacks.last.every_n_steps=2",
    "trainer.max_epochs=2",
    "model.attention_size=6",
]


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    run_ok(*training(scenes, out, *MANY))
    return out


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def flip(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_a_changed_bit_in_the_tensors_of_a_checkpoint_is_found(run) -> None:
    path = run / "checkpoints/best.ckpt"
    original, weights, rng = path.read_bytes(), read_checkpoint(path)[1], random.Random(3)
    bounds = [
        (original.index(w.numpy().tobytes()), w.numpy().nbytes) for w in weights.values() if w.numel() > 20
    ]
    for _ in range(60):
        start, length = rng.choice(bounds)
        flip(path, start + rng.randrange(length), rng.randrange(8))
        with pytest.raises(InputError, match=f"{path}: damaged: .* differs from its checksum"):
            read_checkpoint(path)
        path.write_bytes(original)


def test_a_changed_bit_in_the_shipped_weights_is_found(tmp_path) -> None:
    rng = random.Random(4)
    for suffix in (".safetensors", ".json"):
        shutil.copy(SHIPPED.with_suffix(suffix), tmp_path)
    path = tmp_path / SHIPPED.name
    load_weights(path)
    for _ in range(30):
        position, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
        flip(path, position, bit)
        with pytest.raises(InputError, match="its hash is not the one in scenes_fpn.json"):
            load_weights(path)
        flip(path, position, bit)


def test_weights_that_are_not_finite_are_refused(run, tmp_path) -> None:
    path = run / "checkpoints/best.ckpt"
    content = torch.load(path, weights_only=True)
    name = next(name for name in content["state_dict"] if name.startswith("model."))
    content["state_dict"][name].view(-1)[5] = float("nan")
    torch.save(content, path)
    with pytest.raises(InputError, match=r"weight .* is not finite; use another checkpoint"):
        load(run)
    tensors = load_file(SHIPPED)
    name = next(name for name, value in tensors.items() if value.is_floating_point())
    tensors[name].view(-1)[0] = float("inf")
    with safe_open(SHIPPED, framework="pt") as file:
        save_file(tensors, tmp_path / "w.safetensors", metadata=file.metadata())
    with pytest.raises(InputError, match="has values that are not finite"):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.slow
def test_a_run_resumes_from_the_newest_checkpoint_that_is_intact(run, scenes, capfd) -> None:
    words = [*training(scenes, run, *MANY), "resume=true"]
    last = run / "checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    run_ok(*words)
    assert f"{last}: damaged" in capfd.readouterr().out
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    for path in (last, run / "checkpoints/best.ckpt"):
        path.write_bytes(b"")
    assert "all of its checkpoints are damaged; delete it and start again" in run_error(capfd, *words)


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(scenes, tmp_path, capfd) -> None:
    words = training(scenes, tmp_path / "run", *MANY)
    for more in ([], ["resume=true"]):
        train_until_killed(1, *words)
        assert RunDirectory(tmp_path / "run").state() == "killed"
        run_ok(*words, *more)
        assert RunDirectory(tmp_path / "run").state() == "done"
        shutil.rmtree(tmp_path / "run")
    assert "has no checkpoint yet, so the training starts from the beginning" in capfd.readouterr().out
    assert "holds no run to resume; leave out resume=true" in run_error(capfd, *words, "resume=true")


def hold(path: Path, held) -> None:
    with RunDirectory(path).locked():
        held.set()
        time.sleep(60)


@pytest.mark.slow
def test_a_run_has_one_owner_and_a_dead_owner_does_not_block_it(run, scenes, capfd) -> None:
    held = FORK.Event()
    owner = FORK.Process(target=hold, args=(run, held))
    owner.start()
    assert held.wait(20)
    RunDirectory(run).set_status("running")
    words = training(scenes, run, *MANY)
    for more in ([], ["resume=true"]):
        line = run_error(capfd, *words, *more)
        assert f"{run}: is being trained by process {owner.pid} on " in line
    assert RunDirectory(run).state() == "running"
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    assert RunDirectory(run).state() == "killed"
    assert "already holds a run (killed); give resume=true to continue it" in run_error(capfd, *words)
    run_ok(*words, "resume=true")
    assert not (run / "train.lock").exists()
