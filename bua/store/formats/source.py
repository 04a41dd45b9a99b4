"""Images of a foreign feature file, read one by one and decoded only if they are needed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bua.errors import InputError

#: Positions of the background among the classes of a format.
BACKGROUND_POSITIONS = ("none", "first", "last")


class InvalidImageError(ValueError):
    """One image of a foreign file is invalid; the message is the reason, without file or id."""


@dataclass(frozen=True)
class RawImage:
    """One image as it is stored in a foreign file.

    Shapes: n rows, D features per region.

    Attributes:
        features: Region features of any floating-point type, shape (n, D).
        boxes: Boxes x1 y1 x2 y2 in pixels, shape (n, 4); ``None`` if the format has none.
        size: Height and width in pixels; ``None`` if the file does not contain them.
        columns: Optional columns of a store by name, shape (n,) each; class ids without background.
        normalized: Whether the boxes are fractions of width and height instead of pixels.
        grid: Number of rows and columns of the grid whose cells the regions are.
        num_regions: Number of rows that are regions, the rest being padding; ``None`` if all are.
        repaired: Repairs made while reading.
    """

    features: NDArray[Any]
    boxes: NDArray[Any] | None = None
    size: tuple[int, int] | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    normalized: bool = False
    grid: tuple[int, int] | None = None
    num_regions: int | None = None
    repaired: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceImage:
    """One image of a foreign file, not yet decoded.

    Attributes:
        name: Id of the image as it is written in the file.
        location: Position in the file, for messages.
        read: Decodes the image or raises ``InvalidImageError``. Must be called before the next image is
            requested, because the reader may close its file afterwards.
    """

    name: str | int
    location: str
    read: Callable[[], RawImage]


@dataclass(frozen=True)
class Source:
    """The files to import and how to interpret them.

    Attributes:
        path: File or folder, depending on the format.
        index: File that maps image ids to rows, for formats that keep it in a separate file.
        boxes: Folder of boxes, if they are in a separate folder.
        labels: File of classes and boxes, if they are in a separate file.
        background: Position of the background among the class ids, one of ``BACKGROUND_POSITIONS``;
            ``None`` infers it from the number of class probabilities, or else keeps the ids unchanged.
        class_names: Names of the detector's classes.
        attribute_names: Names of the detector's attributes.
        excluded_columns: Columns to leave out.
        keys: Names of arrays by their roles, for formats in which the user chooses them.
    """

    path: Path
    index: Path | None = None
    boxes: Path | None = None
    labels: Path | None = None
    background: str | None = None
    class_names: Sequence[str] = ()
    attribute_names: Sequence[str] = ()
    excluded_columns: frozenset[str] = frozenset()
    keys: Mapping[str, str] = field(default_factory=dict)

    def file(self) -> Path:
        """Return the path, which must be a file.

        Raises:
            InputError: If it does not exist or is a folder.
        """
        if not self.path.is_file():
            problem = "is a folder, but must be a file" if self.path.is_dir() else "file does not exist"
            raise InputError(f"{self.path}: {problem}")
        return self.path

    def folder(self) -> Path:
        """Return the path, which must be a folder.

        Raises:
            InputError: If it does not exist or is a file.
        """
        if not self.path.is_dir():
            problem = "is a file, but must be a folder" if self.path.is_file() else "folder does not exist"
            raise InputError(f"{self.path}: {problem}")
        return self.path
