"""Progress: lines with the remaining time in a file, bars on a terminal."""

import logging
import sys

import pytest

from bua.io import progress as module
from bua.io.progress import clear_bars, counter, format_seconds, progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """A clock that a test sets."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_short_work_writes_no_line(clock, capsys) -> None:
    assert list(progress(range(5))) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""


def test_long_work_writes_a_line_after_ten_seconds_and_then_every_minute(clock, capsys) -> None:
    for _ in progress(range(100), unit="images", name="regions.h5"):
        clock[0] += 4
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "regions.h5: 3 of 100 images (0.25 per second, 6 min left)"
    assert lines[1] == "regions.h5: 18 of 100 images (0.25 per second, 5 min left)"
    assert len(lines) == 7


def test_work_without_a_known_length_says_how_much_is_done(clock, capsys) -> None:
    for _ in progress(iter(range(20))):
        clock[0] += 1
    assert capsys.readouterr().err == "10 images (1 per second)\n"


def test_items_are_counted_by_the_batch(clock, capsys) -> None:
    with counter(40, unit="questions") as bar:
        for _ in range(2):
            clock[0] += 20
            bar.update(10)
    assert capsys.readouterr().err == "10 of 40 questions (0.5 per second, 60 s left)\n"


def test_other_processes_write_nothing(clock, capsys) -> None:
    for _ in progress(range(10), is_shown=False):
        clock[0] += 60
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (150, "2 min"),
        (3600 * 2 + 300, "2 h 5 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_are_written_in_their_two_largest_units(seconds, text) -> None:
    assert format_seconds(seconds) == text


class Terminal:
    """A terminal that keeps what is written."""

    closed = False

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_a_terminal_gets_a_bar_that_is_removed_before_a_line_is_printed(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "__stderr__", terminal)
    with counter(4, name="r.h5") as bar:
        bar.update(2)
        bar.refresh()
        assert "r.h5:  50%" in terminal.text
        record = logging.makeLogRecord({"msg": "a line"})
        assert clear_bars(record)
        assert terminal.text.split("\r")[-2].strip() == ""
