"""Worker processes: what they send arrives, and whatever ends them ends the loader with one line."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from bua.errors import InputError
from bua.io.workers import WorkerLoader, _explained

#: Seconds within which the loader must end; the issue of a container without shared memory says a minute.
LIMIT = 30


class Calls(Dataset[Any]):
    """A data set whose examples are the results of a function of their index."""

    def __init__(self, function: Callable[[int], Any], count: int = 4) -> None:
        self.function, self.count = function, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.function(index)


def read_all(function: Callable[[int], Any], count: int = 4, num_workers: int = 2) -> list[Any]:
    loader = WorkerLoader(Calls(function, count), num_workers=num_workers, batch_size=None)
    return [*loader]


def error_of(function: Callable[[int], Any], num_workers: int = 2) -> str:
    started = time.monotonic()
    with pytest.raises(InputError) as raised:
        read_all(function, num_workers=num_workers)
    assert time.monotonic() - started < LIMIT
    line = str(raised.value)
    assert "\n" not in line
    return line


def fail(error: Exception) -> Any:
    raise error


@contextmanager
def file_descriptors(free: int) -> Iterator[None]:
    """Leave as many file descriptors to this process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for descriptor in taken[:free]:
            os.close(descriptor)
        del taken[:free]
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.uint8, torch.bool])
def test_tensors_of_every_type_arrive_in_order(dtype, num_workers) -> None:
    read = read_all(lambda n: (n, torch.full((3, 2), n % 2, dtype=dtype)), 5, num_workers)
    assert [n for n, _ in read] == [0, 1, 2, 3, 4]
    assert all(torch.equal(value, torch.full((3, 2), n % 2, dtype=dtype)) for n, value in read)


def test_the_error_of_a_worker_is_its_line_alone() -> None:
    assert error_of(lambda n: fail(InputError(f"a.jpg: wrong {n}"))) == "a.jpg: wrong 0"


@pytest.mark.parametrize("error", [RuntimeError("something else"), OSError("not about workers")])
def test_an_error_that_is_not_about_workers_is_passed_on(error) -> None:
    with pytest.raises(type(error), match=str(error)):
        _explained(lambda: fail(error))


def test_a_killed_worker_ends_the_loader_with_a_line() -> None:
    line = error_of(lambda n: os.kill(os.getpid(), signal.SIGKILL))
    assert line.startswith("a worker process ended unexpectedly, probably killed because memory ran out;")


def test_a_batch_that_cannot_be_sent_ends_the_loader_with_a_line() -> None:
    line = error_of(lambda n: lambda: None)  # functions without a name cannot be pickled
    assert line.startswith("a worker process ended unexpectedly")


@pytest.mark.parametrize("free", [1, 8, 20])
def test_too_few_file_descriptors_end_the_loader_with_a_line(free) -> None:
    with file_descriptors(free):
        line = error_of(lambda n: [torch.ones(2) for _ in range(40)])
    assert "open files" in line
    assert "use fewer num_workers, or num_workers=0" in line


IN_LITTLE_SHARED_MEMORY = """
import torch
from bua.io.workers import WorkerLoader
values = [torch.full((200_000,), float(n)) for n in range(20)]  # 800 kB each
for n, value in enumerate(WorkerLoader(values, num_workers=2, batch_size=None, prefetch_factor=8)):
    assert torch.equal(value, values[n])
print("all arrived")
"""


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="only root can mount")
@pytest.mark.parametrize(
    ("options", "expected"),
    [("size=1m", "all arrived"), ("size=1m,ro", "worker processes cannot be started (Read-only file system")],
)
def test_tensors_need_no_shared_memory_but_semaphores_do(options, expected) -> None:
    script = f'mount -t tmpfs -o {options} tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", IN_LITTLE_SHARED_MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "permission denied" in done.stderr.lower() and "mount" in done.stderr:
        pytest.skip("this system does not let root mount")
    assert expected in done.stdout + done.stderr
