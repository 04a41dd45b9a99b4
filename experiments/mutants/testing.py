"""Run tests in a fork of this process: in a given order, recorded, and stopped at the first failure."""

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from experiments.mutants.selection import Function

#: Bytes that a test process may allocate: a loop that no longer ends must not take those of the machine.
MEMORY = 8 << 30
#: Packages and modules that are never imported before a fork: those under test, and what belongs to one run.
OWN = {"bua", "tests", "conftest", "experiments", "__main__"}


@dataclass
class Report:
    """What the tests of one process did.

    Attributes:
        passed: Seconds of every test that passed, by its id.
        failed: Ids of the tests that failed.
        functions: Functions that each test called, where this was asked for.
        modules: Modules that the tests imported, except for those of the checkout.
        timed_out: Whether the process was ended because it took too long.
        status: Exit status of pytest, or the negative signal that ended the process.
        output: What pytest printed.
    """

    passed: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    functions: dict[str, list[Function]] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    timed_out: bool = False
    status: int = 0
    output: str = ""


class Recorder:
    """A plugin of pytest that selects and orders tests, and records them.

    Args:
        checkout: Root of the checkout under test.
        order: Ids of the tests to run, in this order; None for all.
        trace: Whether to record the functions of ``bua`` that each test calls.
    """

    def __init__(self, checkout: Path, order: list[str] | None, trace: bool) -> None:
        self._position = None if order is None else {test: n for n, test in enumerate(order)}
        self._trace, self._prefix = trace, f"{checkout}/"
        self._called: set[CodeType] = set()
        self._called_by_fixture: dict[str, set[CodeType]] = {}
        self.report = Report()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Drop the tests that are not asked for, and sort the others."""
        if self._position is not None:
            position = self._position
            items[:] = sorted((i for i in items if i.nodeid in position), key=lambda i: position[i.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Measure a test with its fixtures."""
        started = time.perf_counter()
        self.report.passed[item.nodeid] = 0.0
        self._called = set()
        if self._trace:
            threading.settrace(self._on_call)
            sys.settrace(self._on_call)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            if item.nodeid in self.report.passed:
                self.report.passed[item.nodeid] = round(time.perf_counter() - started, 3)
                for name in getattr(item, "fixturenames", ()):
                    self._called |= self._called_by_fixture.get(name, set())
                called = {(code.co_filename, code.co_firstlineno) for code in self._called}
                self.report.functions[item.nodeid] = sorted(
                    (file.removeprefix(self._prefix), line)
                    for file, line in called
                    if file.startswith(self._prefix)
                )

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[Any]:
        """Record what a fixture calls for all tests that use it, not only for the first."""
        outside, self._called = self._called, set()
        try:
            return (yield)
        finally:
            self._called_by_fixture.setdefault(fixturedef.argname, set()).update(self._called)
            self._called |= outside

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that did not pass."""
        if not report.passed:
            self.report.passed.pop(report.nodeid, None)
        if report.failed:
            self.report.failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file of tests that could not be read."""
        if report.failed:
            self.report.failed.append(report.nodeid)

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> None:
        self._called.add(frame.f_code)


def run_tests(
    checkout: Path,
    paths: list[str],
    *,
    order: list[str] | None = None,
    trace: bool = False,
    stop: bool = True,
    limit: float = 3600,
) -> Report:
    """Run the tests of some paths in a fork of this process, which should have imported what is slow.

    Args:
        checkout: Root of the checkout under test.
        paths: Files or folders of tests.
        order: Ids of the tests to run, in this order; None for all that are not slow.
        trace: Whether to record the functions that each test calls.
        stop: Whether to stop at the first failure.
        limit: Seconds after which the process is ended.
    """
    with tempfile.TemporaryDirectory(dir=checkout.parent, ignore_cleanup_errors=True) as scratch:
        result, log = Path(scratch, "report.json"), Path(scratch, "output.txt")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setsid()
                status = _in_child(checkout, paths, order, trace, stop, result, log)
            finally:
                os._exit(status)
        timed_out, status = _wait(child, limit)
        report = Report(**json.loads(result.read_text())) if result.exists() else Report()
        report.timed_out, report.status = timed_out, status
        report.output = log.read_text(errors="replace") if log.exists() else ""
        return report


def _in_child(
    checkout: Path,
    paths: list[str],
    order: list[str] | None,
    trace: bool,
    stop: bool,
    result: Path,
    log: Path,
) -> int:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(checkout)
    for module in [name for name in sys.modules if name.split(".")[0] in OWN - {"experiments", "__main__"}]:
        del sys.modules[module]
    sys.path[:] = [str(checkout), *(p for p in sys.path if p not in ("", str(checkout)))]
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    _load_hypothesis_profile()
    recorder = Recorder(checkout, order, trace)
    options = [f"--basetemp={result.parent / 'tmp'}", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-x"] if stop else []
    options += ["-m", "not slow"] if order is None else []
    status = int(pytest.main([*options, "--tb=line", *paths], plugins=[recorder]))
    recorder.report.modules = [m for m in sys.modules if m.split(".")[0] not in OWN]
    result.write_text(json.dumps(vars(recorder.report)))
    return status


def _load_hypothesis_profile() -> None:
    """Draw the same examples each time, and do not search for the smallest that fails."""
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", phases=phases, derandomize=True, database=None, deadline=None)
    settings.load_profile("mutants")


def _wait(child: int, limit: float) -> tuple[bool, int]:
    """Wait for a process, end its group, and return whether it took too long, and its status."""
    ends, timed_out = time.monotonic() + limit, False
    try:
        found, status = os.waitpid(child, os.WNOHANG)
        while not found and time.monotonic() < ends:
            time.sleep(0.02)
            found, status = os.waitpid(child, os.WNOHANG)
        timed_out = not found
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    if timed_out:
        _, status = os.waitpid(child, 0)
    return timed_out, os.waitstatus_to_exitcode(status)
