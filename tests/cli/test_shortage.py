"""What the system runs out of, and processes that it kills, end a command in one line."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch.utils.data import DataLoader

from bua.cli.shortage import describe_shortage
from tests.helpers.captioners import training
from tests.helpers.parity import ROOT


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EMFILE, "too many open files; use fewer num_workers, or a higher ulimit -n"),
        (errno.ENOSPC, "a file: No space left on device"),
        (errno.ENOENT, "worker processes need /dev/shm, which does not exist; use num_workers=0"),
    ],
)
def test_a_system_error_without_a_file_is_named(number, expected) -> None:
    assert describe_shortage(OSError(number, os.strerror(number))) == expected


def test_a_tensor_that_does_not_fit_into_memory_is_one_line() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    line = describe_shortage(raised.value)
    assert line is not None
    assert line.startswith("memory ran out (")
    assert line.endswith("use a smaller batch_size or fewer num_workers")
    assert "\n" not in line


def test_a_worker_that_is_killed_while_its_batches_are_used_is_one_line() -> None:
    """Torch raises the error wherever the main process is, not only where it waits for a batch."""
    batches = iter(DataLoader(range(100), num_workers=1))
    next(batches)
    [worker] = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError) as raised:
        time.sleep(30)
    line = describe_shortage(raised.value)
    assert line is not None
    assert line.startswith("a worker process ended unexpectedly")


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError("no number")])
def test_other_errors_keep_their_traceback(error) -> None:
    assert describe_shortage(error) is None


@pytest.mark.slow
def test_a_training_whose_other_process_is_killed_fails_with_a_line(scenes, tmp_path) -> None:
    run = tmp_path / "run"
    command = training(scenes, run, "trainer.devices=2", "trainer.max_epochs=500", "save_every=1")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "bua", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    ) as first:
        while not (run / "checkpoints/last.ckpt").exists() and first.poll() is None:
            time.sleep(0.2)
        [other] = children(first.pid)
        os.kill(other, signal.SIGKILL)
        _, stderr = first.communicate(timeout=60)
    lines = stderr.decode().strip().splitlines()
    assert first.returncode == 2
    assert lines[-1].startswith("bua train: another process of this command ended unexpectedly")
    assert lines[-1].endswith("continue with resume=true")
    assert not [line for line in lines if "Traceback" in line]
    assert json.loads((run / "status.json").read_text())["state"] == "failed"


def children(pid: int) -> list[int]:
    """Return the ids of the processes of bua that a process started."""
    listed = subprocess.run(
        ["pgrep", "-P", str(pid), "-f", "bua"], capture_output=True, text=True, check=True
    )
    return [int(line) for line in listed.stdout.split()]
