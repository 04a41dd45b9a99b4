"""Check a whole store for damage that opening it does not reveal.

The file is read once, in chunks: first its checksum header, without HDF5, then the columns.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.store.reader import FeatureStore, open_store
from bua.store.schema import COLUMNS, checksummed_columns, verify_checksum
from bua.structures.annotations import ImageId

#: Bytes of a column that are read at once.
CHUNK_BYTES = 2**23
#: Images listed by id for each kind of problem; the rest are only counted.
MAX_LISTED = 10
#: Pixels by which a box may extend beyond its image: detectors differ in where the last pixel ends.
BOX_TOLERANCE = 1.0

#: Yields a problem and the mask of the rows of a chunk that have it.
ColumnCheck = Callable[[NDArray[Any]], Iterator[tuple[str, NDArray[np.bool_]]]]


def check_store(path: Path) -> list[str]:
    """Return the problems of a store.

    Every changed, missing or added byte of a file with a checksum header is found. In an older file
    without one, the columns are compared with their hashes; a changed byte elsewhere is found only if
    it makes the file invalid.

    Args:
        path: Store to check.

    Returns:
        One line per problem; an empty list if the store is valid.

    Raises:
        InputError: If the file cannot be opened.
    """
    if path.is_file() and (problems := verify_checksum(path)):
        return problems
    store = FeatureStore(path)
    with open_store(path) as file:
        owners = _RowOwners(path, store.image_ids, file["rows"][:], file["size"][:])
        problems = owners.problems(len(file["boxes"]), store.metadata.grid)
        spans = checksummed_columns(path)
        for name in COLUMNS:
            if name not in file:
                continue
            dataset = file[name]
            if spans is not None and spans.get(name) != (dataset.id.get_offset(), dataset.nbytes):
                problems.append(f"{path}: {name} is not at the position in the checksum header")
            if spans is not None and name not in store.metadata.sha256:
                problems.append(f"{path}: the sha256 of {name} is missing")
            names = {"class_id": store.metadata.class_names, "attribute_id": store.metadata.attribute_names}
            check = _column_check(name, owners, len(names.get(name, ())))
            problems += _check_column(path, dataset, check, owners, store.metadata.sha256.get(name))
    return problems


class _RowOwners:
    """Maps rows to the images that own them, and knows the size of each image.

    Args:
        path: Store, named in messages.
        ids: Image ids, N of them.
        rows: First row of each image and the row after its last, shape (N, 2).
        size: Height and width of each image in pixels, shape (N, 2).

    Attributes:
        first_row: First row of the current chunk.
    """

    def __init__(
        self, path: Path, ids: list[ImageId], rows: NDArray[np.int64], size: NDArray[np.int32]
    ) -> None:
        order = np.argsort(rows[:, 0], kind="stable")
        self.path, self.rows, self.size = path, rows[order], size[order]
        self.ids = [ids[n] for n in order.tolist()]
        self.first_row = 0

    def owners(self, count: int) -> NDArray[np.int64]:
        """Return the index of the image that owns each of the ``count`` rows of the current chunk."""
        rows = np.arange(self.first_row, self.first_row + count)
        owners: NDArray[np.int64] = np.searchsorted(self.rows[:, 0], rows, "right") - 1
        return owners

    def problems(self, regions: int, grid: tuple[int, int] | None) -> list[str]:
        """Return the problems of rows and sizes, one line each.

        Args:
            regions: Number of regions in the store.
            grid: Rows and columns of the grid that the regions of every image form, or ``None``.
        """
        problems = []
        counts = self.rows[:, 1] - self.rows[:, 0]
        if counts.sum() != regions:
            problems.append(f"{self.path}: {regions - counts.sum()} regions belong to no image")
        for n in np.flatnonzero((self.size < 1).any(1))[:MAX_LISTED].tolist():
            problems.append(
                f"{self.path}: image {self.ids[n]!r}: height and width must be at least 1, "
                f"got {self.size[n].tolist()}"
            )
        cells = grid[0] * grid[1] if grid else None
        for n in np.flatnonzero(counts != cells)[:MAX_LISTED].tolist() if cells else []:
            problems.append(
                f"{self.path}: image {self.ids[n]!r} has {counts[n]} regions, but the grid has {cells} cells"
            )
        return problems


def _column_check(name: str, owners: _RowOwners, num_names: int) -> ColumnCheck:
    """Return the check for the values of a column.

    Args:
        name: Name of the column.
        owners: Images that own the rows.
        num_names: Number of class or attribute names; 0 if they are unknown.
    """

    def finite(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        yield f"{name} are not all finite", ~np.isfinite(values).reshape(len(values), -1).all(1)

    def boxes(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        yield from finite(values)
        height, width = owners.size[owners.owners(len(values))].T.astype(np.float64)
        x1, y1, x2, y2 = values.T
        inside = (
            (x1 >= -BOX_TOLERANCE)
            & (y1 >= -BOX_TOLERANCE)
            & (x2 <= width + BOX_TOLERANCE)
            & (y2 <= height + BOX_TOLERANCE)
        )
        yield "a box extends beyond the image of {1} x {0} pixels", ~inside
        yield "a box has a negative width or height", ~((x2 >= x1) & (y2 >= y1))

    def scores(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        yield f"{name} is not between 0 and 1", ~((values >= 0) & (values <= 1 + 1e-6))

    def ids(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        last = num_names - 1 if num_names else np.iinfo(np.int32).max
        problem = f"{name} is not between 0 and {last}, the last name" if num_names else f"{name} is negative"
        yield problem, (values < 0) | (values > last)

    if name == "boxes":
        return boxes
    return finite if name == "features" else scores if name.endswith("_score") else ids


def _check_column(
    path: Path, dataset: h5py.Dataset, check: ColumnCheck, owners: _RowOwners, sha256: str | None
) -> list[str]:
    """Read one column and return its problems, one line each."""
    name = dataset.name.lstrip("/")
    digest = hashlib.sha256()
    images_by_problem: dict[str, list[int]] = {}
    owners.first_row = 0
    try:
        for chunk in _read_chunks(path, dataset):
            digest.update(chunk.data)
            with np.errstate(invalid="ignore"):
                for problem, rows in check(chunk):
                    affected = owners.owners(len(chunk))[rows].tolist() if rows.any() else []
                    images_by_problem.setdefault(problem, []).extend(n for n in dict.fromkeys(affected))
            owners.first_row += len(chunk)
    except (OSError, RuntimeError, ValueError) as error:
        return [f"{path}: {name} cannot be read ({error})"]
    problems = []
    for problem, positions in images_by_problem.items():
        images = list(dict.fromkeys(positions))
        for n in images[:MAX_LISTED]:
            problems.append(f"{path}: image {owners.ids[n]!r}: {problem.format(*owners.size[n])}")
        if len(images) > MAX_LISTED:
            problems.append(
                f"{path}: {len(images) - MAX_LISTED} more images: {problem.format('height', 'width')}"
            )
    if sha256 is not None and digest.hexdigest() != sha256:
        problems.append(f"{path}: {name} has changed since it was written: its sha256 differs")
    return problems


def _read_chunks(path: Path, dataset: h5py.Dataset) -> Iterator[NDArray[Any]]:
    """Yield the rows of a column in chunks, bypassing HDF5 if the column is contiguous in the file."""
    count = len(dataset)
    width = int(np.prod(dataset.shape[1:], dtype=int))
    step = max(1, CHUNK_BYTES // max(1, width * dataset.dtype.itemsize))
    offset = dataset.id.get_offset()
    if dataset.chunks is not None or offset is None or not dataset.dtype.isnative:
        for start in range(0, count, step):
            yield np.ascontiguousarray(dataset[start : start + step])
        return
    with open(path, "rb") as file:
        file.seek(offset)
        for start in range(0, count, step):
            rows = min(step, count - start)
            yield np.fromfile(file, dataset.dtype, rows * width).reshape(rows, *dataset.shape[1:])
