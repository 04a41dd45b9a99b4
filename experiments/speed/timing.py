"""Timing of functions, and what a measurement is."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

#: One measurement: ``what`` was measured, its ``value``, and the ``target`` of the design, if any.
Row = dict[str, str]
DEVICE_NAMES = {"cpu": "the CPU", "cuda": "the GPU"}


def median_seconds(function: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call, after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def fastest_seconds(functions: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Return the shortest time of each function, called in turns, after one call each to warm up."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(repeats + 1):
        for function, taken in zip(functions, times, strict=True):
            started = time.perf_counter()
            function()
            if turn:
                taken.append(time.perf_counter() - started)
    return [min(taken) for taken in times]


def synchronized(function: Callable[[], Any], device: str) -> Callable[[], None]:
    """Return a function that waits until the device has finished."""

    def wait() -> None:
        function()
        if device == "cuda":
            torch.cuda.synchronize()

    return wait
