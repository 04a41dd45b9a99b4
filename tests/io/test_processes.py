"""Processes of a pool give results in order and never outlive the process that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bua.errors import InputError
from bua.io.processes import map_in_processes
from tests.helpers.parity import ROOT

#: Starts a pool that prints the ids of its processes and works for a minute.
ENDLESS = """
import os, time
from bua.io.processes import map_in_processes

def work(n):
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    map_in_processes(work, range(64), 2)
"""


def square(n: int) -> int:
    return n * n


def die(n: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_are_in_the_order_of_the_values(num_workers) -> None:
    assert map_in_processes(square, range(70), num_workers) == [n * n for n in range(70)]


def test_a_killed_process_ends_the_pool_with_a_line() -> None:
    with pytest.raises(InputError, match="^a worker process ended unexpectedly.*use fewer num_workers$"):
        map_in_processes(die, range(2), 2)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_the_one_that_started_them(signal_number, tmp_path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "endless.py")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as pool:
        assert pool.stdout is not None
        children = [int(pool.stdout.readline()) for _ in range(2)]
        pool.send_signal(signal_number)
        pool.wait()
        deadline = time.monotonic() + 10
        while any(map(is_running, children)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(is_running, children))


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
