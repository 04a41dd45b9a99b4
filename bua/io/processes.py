"""Processes of a pool, which end with the process that started them, however that ends."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TypeVar

from bua.errors import InputError

#: Environment variable with the number of a pipe whose other end only the parent of a process holds.
PARENT_PIPE = "BUA_PARENT_PIPE"

#: Set once another process has launched this one with a ``PARENT_PIPE``.
_launched = threading.Event()

T = TypeVar("T")
R = TypeVar("R")


def map_in_processes(function: Callable[[T], R], values: Iterable[T], num_workers: int) -> list[R]:
    """Return the results of a function in the order of the values.

    Args:
        function: Function that can be pickled.
        values: Values.
        num_workers: Number of processes; this one alone if it is less than 2.

    Raises:
        InputError: If a process is killed.
    """
    if num_workers < 2:
        return [function(value) for value in values]
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(num_workers, context, initializer=_end_with_parent) as pool:
            return list(pool.map(function, values, chunksize=32))
    except BrokenProcessPool:
        raise InputError(
            "a worker process ended unexpectedly, probably killed because memory ran out; "
            "use fewer num_workers"
        ) from None


def end_with_launcher() -> None:
    """End this process as soon as the process that launched it with a ``PARENT_PIPE`` is gone, if one did."""
    descriptor = os.environ.pop(PARENT_PIPE, None)  # not passed on to the processes of this one
    if descriptor is None:
        return
    _launched.set()

    def watch() -> None:
        with suppress(OSError):
            os.read(int(descriptor), 1)  # returns when the other end is closed
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def has_launcher() -> bool:
    """Return whether this process is a job that another one has launched."""
    return _launched.is_set()


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, instead of waiting for work forever."""
    parent = parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
