"""Looking through a whole store for damage that opening it does not show.

The file is read once, in pieces; first its seal, without HDF5, then the columns.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bua.store.checksum import checksummed_columns, verify_checksum
from bua.store.reader import FeatureStore, ImageId, open_store
from bua.store.schema import COLUMNS

#: Bytes of a column read at once.
PIECE = 2**23
#: Images named for each kind of problem; the others are counted.
NAMED = 10
#: A box may leave its image by so many pixels: detectors differ in where the last pixel ends.
SLACK = 1.0

#: Tells which rows of a piece are wrong, and how.
Rule = Callable[[NDArray[Any]], Iterator[tuple[str, NDArray[np.bool_]]]]


def check_store(path: Path) -> list[str]:
    """Return what is wrong with a store, one line each; nothing when it is sound.

    Every changed, missing or added byte of a sealed file is found. Of an older file without a seal
    the columns are compared with their hashes; a changed byte elsewhere is found only if it makes
    the file unsound.

    Raises:
        InputError: it cannot even be opened.
    """
    if path.is_file() and (problems := verify_checksum(path)):
        return problems
    store = FeatureStore(path)
    with open_store(path) as file:
        images = _Images(path, store.image_ids, file["rows"][:], file["size"][:])
        problems = images.problems(len(file["boxes"]), store.metadata.grid)
        spans = checksummed_columns(path)
        for name in COLUMNS:
            if name not in file:
                continue
            dataset = file[name]
            if spans is not None and spans.get(name) != (dataset.id.get_offset(), dataset.nbytes):
                problems.append(f"{path}: {name} does not lie where the seal says")
            if spans is not None and name not in store.metadata.sha256:
                problems.append(f"{path}: there is no sha256 of {name}")
            names = {"class_id": store.metadata.class_names, "attribute_id": store.metadata.attribute_names}
            rule = _rule(name, images, len(names.get(name, ())))
            problems += _column(path, dataset, rule, images, store.metadata.sha256.get(name))
    return problems


class _Images:
    """Which image owns a row, and how large it is."""

    def __init__(
        self, path: Path, ids: list[ImageId], rows: NDArray[np.int64], size: NDArray[np.int32]
    ) -> None:
        order = np.argsort(rows[:, 0], kind="stable")
        self.path, self.rows, self.size = path, rows[order], size[order]
        self.ids = [ids[n] for n in order.tolist()]
        self.at = 0  # the first row of the piece in hand

    def owners(self, count: int) -> NDArray[np.int64]:
        """Return the owner's position for each row of the piece in hand."""
        rows = np.arange(self.at, self.at + count)
        owners: NDArray[np.int64] = np.searchsorted(self.rows[:, 0], rows, "right") - 1
        return owners

    def problems(self, regions: int, grid: tuple[int, int] | None) -> list[str]:
        """Return what is wrong with rows and sizes."""
        found = []
        counts = self.rows[:, 1] - self.rows[:, 0]
        if counts.sum() != regions:
            found.append(f"{self.path}: {regions - counts.sum()} regions belong to no image")
        for n in np.flatnonzero((self.size < 1).any(1))[:NAMED].tolist():
            found.append(f"{self.path}: image {self.ids[n]!r}: its size is {self.size[n].tolist()}")
        cells = grid[0] * grid[1] if grid else None
        for n in np.flatnonzero(counts != cells)[:NAMED].tolist() if cells else []:
            found.append(f"{self.path}: image {self.ids[n]!r} has {counts[n]} regions, its grid {cells}")
        return found


def _rule(name: str, images: _Images, names: int) -> Rule:
    """Return what must hold for the values of a column."""

    def finite(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        yield f"{name} are not all finite", ~np.isfinite(values).reshape(len(values), -1).all(1)

    def boxes(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        yield from finite(values)
        height, width = images.size[images.owners(len(values))].T.astype(np.float64)
        x1, y1, x2, y2 = values.T
        inside = (x1 >= -SLACK) & (y1 >= -SLACK) & (x2 <= width + SLACK) & (y2 <= height + SLACK)
        yield "a box leaves the image of {1} x {0}", ~inside
        yield "a box ends before it begins", ~((x2 >= x1) & (y2 >= y1))

    def scores(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        yield f"{name} is not within 0 and 1", ~((values >= 0) & (values <= 1 + 1e-6))

    def numbers(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        last = names - 1 if names else np.iinfo(np.int32).max
        text = f"{name} is not within 0 and {last}, the last of the names" if names else f"{name} is below 0"
        yield text, (values < 0) | (values > last)

    if name == "boxes":
        return boxes
    return finite if name == "features" else scores if name.endswith("_score") else numbers


def _column(path: Path, dataset: h5py.Dataset, rule: Rule, images: _Images, sha256: str | None) -> list[str]:
    """Read one column and return what is wrong with it."""
    name = dataset.name.lstrip("/")
    digest = hashlib.sha256()
    wrong: dict[str, list[int]] = {}
    images.at = 0
    try:
        for piece in _pieces(path, dataset):
            digest.update(piece.data)
            with np.errstate(invalid="ignore"):
                for text, rows in rule(piece):
                    owners = images.owners(len(piece))[rows].tolist() if rows.any() else []
                    wrong.setdefault(text, []).extend(n for n in dict.fromkeys(owners))
            images.at += len(piece)
    except (OSError, RuntimeError, ValueError) as error:
        return [f"{path}: {name} cannot be read ({error})"]
    problems = []
    for text, positions in wrong.items():
        found = list(dict.fromkeys(positions))
        for n in found[:NAMED]:
            problems.append(f"{path}: image {images.ids[n]!r}: {text.format(*images.size[n])}")
        if len(found) > NAMED:
            problems.append(f"{path}: {len(found) - NAMED} more images: {text.format('height', 'width')}")
    if sha256 is not None and digest.hexdigest() != sha256:
        problems.append(f"{path}: {name} is not what was written: its sha256 differs")
    return problems


def _pieces(path: Path, dataset: h5py.Dataset) -> Iterator[NDArray[Any]]:
    """Read a column from first to last; past HDF5 where it lies in one piece."""
    count = len(dataset)
    width = int(np.prod(dataset.shape[1:], dtype=int))
    step = max(1, PIECE // max(1, width * dataset.dtype.itemsize))
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
