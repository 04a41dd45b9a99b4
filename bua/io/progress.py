"""Progress of long work: a bar on a terminal, and a line now and then in a file or a pipe.

A bar is drawn on the terminal itself, because the standard error of a command writes out the characters that
move the cursor.
"""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Generic, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")

#: Seconds before the first line, and between further lines.
FIRST, INTERVAL = 10, 60


def terminal() -> TextIO | None:
    """Return the terminal behind the standard error, or ``None`` if it is a file or a pipe."""
    stream = sys.__stderr__
    return stream if stream is not None and not stream.closed and stream.isatty() else None


def progress(
    items: Iterable[T], *, unit: str = "images", name: str = "", is_shown: bool = True
) -> "ProgressLines[T] | tqdm[T]":
    """Return an iterable that shows how many of its items are done.

    Args:
        items: Items to iterate over.
        unit: Noun for the items. Default: images.
        name: Text in front. Default: none.
        is_shown: Whether to show anything. Default: yes.
    """
    if is_shown and (stream := terminal()) is not None:
        return tqdm(items, name or None, unit=f" {unit}", file=stream, dynamic_ncols=True)
    return ProgressLines(items, None, unit, name, is_shown=is_shown)


def counter(
    total: int, *, unit: str = "images", name: str = "", is_shown: bool = True
) -> "ProgressLines[int] | tqdm[int]":
    """Return a context whose method ``update`` takes how many more items are done.

    Args:
        total: Number of items.
        unit: Noun for the items. Default: images.
        name: Text in front. Default: none.
        is_shown: Whether to show anything. Default: yes.
    """
    if is_shown and (stream := terminal()) is not None:
        return tqdm(range(total), name or None, unit=f" {unit}", file=stream, dynamic_ncols=True)
    return ProgressLines((), total, unit, name, is_shown=is_shown)


class ProgressLines(Generic[T]):
    """Lines on the standard error about how far something is; none if it takes only seconds.

    Args:
        items: Items to iterate over.
        total: Number of items. Default: the length of ``items``, or unknown.
        unit: Noun for the items.
        name: Text in front of the lines.
        is_shown: Whether to write lines.
    """

    def __init__(
        self, items: Iterable[T], total: int | None, unit: str, name: str, *, is_shown: bool = True
    ) -> None:
        self._items, self._unit, self._name, self._is_shown = items, unit, name, is_shown
        self._total = len(items) if total is None and isinstance(items, Sized) else total
        self._count = 0
        self._start = time.monotonic()
        self._due = self._start + FIRST

    def __iter__(self) -> Iterator[T]:
        for item in self._items:
            yield item
            self.update()

    def __enter__(self) -> "ProgressLines[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, count: float = 1) -> None:
        """Count finished items, and write a line if it is time to."""
        self._count += int(count)
        now = time.monotonic()
        if self._is_shown and now >= self._due:
            self._due = now + INTERVAL
            print(self._line(now - self._start), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        name, rate = f"{self._name}: " if self._name else "", self._count / seconds
        if self._total is None or not self._count:
            return f"{name}{self._count:,} {self._unit} ({rate:.3g} per second)"
        left = format_seconds((self._total - self._count) / rate)
        return f"{name}{self._count:,} of {self._total:,} {self._unit} ({rate:.3g} per second, {left} left)"


def format_seconds(seconds: float) -> str:
    """Return a duration in its two largest units, such as "45 s", "3 min", "2 h 5 min" or "3 d 1 h"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def clear_bars(record: logging.LogRecord | None = None) -> bool:
    """Remove the bars from the terminal, so that a line can be printed; they return with the next update.

    This is a filter for handlers of ``logging``: it returns true.
    """
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.clear()
    return True
