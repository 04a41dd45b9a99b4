"""What passes between a foreign format and a store: images one by one, decoded only where wanted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bua.errors import InputError

#: Where a format may count the background among its classes.
BACKGROUND = ("none", "first", "last")


class InvalidImageError(ValueError):
    """One image of a foreign file cannot be used; the message is the reason, without file or id."""


@dataclass(frozen=True)
class Raw:
    """One image as its file holds it.

    Attributes:
        features: (n, D), any type of floating-point number.
        boxes: (n, 4), x1 y1 x2 y2 in pixels; ``None`` where the format has none.
        size: height and width in pixels; ``None`` where the file does not tell.
        columns: the optional columns of a store, by name, (n,) each; without background.
        fractions: the boxes are fractions of width and height.
        cells: the rows are the cells of a grid of so many rows and columns.
        count: how many rows are real, the others being padding; ``None`` for all of them.
        repaired: what was put right while reading.
    """

    features: NDArray[Any]
    boxes: NDArray[Any] | None = None
    size: tuple[int, int] | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    fractions: bool = False
    cells: tuple[int, int] | None = None
    count: int | None = None
    repaired: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One image that a reader has come to.

    Attributes:
        name: its id as the file has it.
        where: its place in the file, for messages.
        read: decodes it, at once: a reader may close its file after the next item. Raises
            ``InvalidImageError``.
    """

    name: str | int
    where: str
    read: Callable[[], Raw]


@dataclass(frozen=True)
class Source:
    """What to read.

    Attributes:
        path: file or folder, as the format has it.
        index: file that says which row an image has, where the format has one of its own.
        boxes: folder of boxes, where they lie apart.
        labels: file of classes and boxes, where they lie apart.
        background: where class ids count it: one of ``BACKGROUND``; ``None`` to tell by the width of
            the class probabilities, or to take ids as they stand.
        class_names: of the detector.
        attribute_names: of the detector.
        without: columns to leave out.
    """

    path: Path
    index: Path | None = None
    boxes: Path | None = None
    labels: Path | None = None
    background: str | None = None
    class_names: Sequence[str] = ()
    attribute_names: Sequence[str] = ()
    without: frozenset[str] = frozenset()

    def file(self) -> Path:
        """Return the path of what must be a file, or raise ``InputError``."""
        if not self.path.is_file():
            what = "is a folder, a file is needed" if self.path.is_dir() else "there is no such file"
            raise InputError(f"{self.path}: {what}")
        return self.path

    def folder(self) -> Path:
        """Return the path of what must be a folder, or raise ``InputError``."""
        if not self.path.is_dir():
            what = "is a file, a folder is needed" if self.path.is_file() else "there is no such folder"
            raise InputError(f"{self.path}: {what}")
        return self.path
