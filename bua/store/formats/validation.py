"""From an image as a foreign file holds it to regions as a store holds them, or to a reason why not.

What is put right is told, never done silently: see the texts given to ``repaired``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.store.check import SLACK
from bua.store.formats.item import InvalidImageError, Raw
from bua.store.formats.sizes import ImageSizes
from bua.store.reader import ImageId
from bua.structures.regions import OPTIONAL, Regions

#: A box is a fraction of its image if no number exceeds this, in an image of more than a few pixels.
_FRACTION, _FEW = 1.001, 4
#: Rounding may carry a probability so far beyond 0 and 1.
_ROUNDING = 1e-4


class MissingFieldError(InvalidImageError):
    """An image lacks its size or its boxes; where the first does, all do."""


@dataclass(frozen=True)
class ImportRules:
    """How to read what a format leaves open.

    Attributes:
        path: of the source, for messages.
        sizes: of images; they are believed before those of the source.
        whole: where there are no boxes, every region is the whole image.
        without: columns to leave out.
        names: number of names of each column of ids; 0 where they are unknown.
    """

    path: Path
    sizes: ImageSizes | None
    whole: bool
    without: frozenset[str]
    names: dict[str, int]


def validate(raw: Raw, image: ImageId, rules: ImportRules) -> tuple[Regions, list[str]]:
    """Return the regions of an image, and what was put right.

    Raises:
        InvalidImageError: it cannot be used.
    """
    repaired = list(raw.repaired)
    features = _features(raw, repaired)
    count = len(features)
    if count == 0:
        raise InvalidImageError("there are no regions")
    size = _size(raw, image, rules)
    boxes = _boxes(raw, count, size, rules, repaired)
    columns = {
        name: _column(name, values, count, rules, repaired)
        for name, values in raw.columns.items()
        if name not in rules.without
    }
    return Regions(features, boxes, size, **columns), repaired


def _features(raw: Raw, repaired: list[str]) -> NDArray[np.float32]:
    features = raw.features
    if features.ndim != 2 or features.shape[1] < 1 or features.dtype.kind != "f":
        raise InvalidImageError(
            f"features are {features.shape} of {features.dtype}, (n, D) floats are needed"
        )
    if raw.count is not None:
        if not 0 <= raw.count <= len(features):
            raise InvalidImageError(f"{raw.count} regions are claimed, there are {len(features)}")
        features = features[: raw.count]
    finite = np.isfinite(features)
    if not finite.all():
        where = int(np.flatnonzero(~finite.all(1))[0])
        raise InvalidImageError(f"the features of region {where} are not all finite")
    if features.dtype != np.float32:
        repaired.append(f"features were {features.dtype.name}, made float32")
        with np.errstate(over="ignore"):
            features = features.astype(np.float32)
        if not np.isfinite(features).all():
            raise InvalidImageError("features do not fit float32")
    return features


def _size(raw: Raw, image: ImageId, rules: ImportRules) -> tuple[int, int]:
    found = rules.sizes.find(image) if rules.sizes is not None else None
    size = found or raw.size
    if size is None and rules.sizes is None:
        raise MissingFieldError(
            "its size is not told: give images=COCO_JSON or the folder of the photographs"
        )
    if size is None:
        raise InvalidImageError("its size is unknown: images=... does not have it")
    if not (1 <= size[0] < 2**31 and 1 <= size[1] < 2**31):
        raise InvalidImageError(f"its size is {size[0]} x {size[1]}")
    return size


def _boxes(
    raw: Raw, count: int, size: tuple[int, int], rules: ImportRules, repaired: list[str]
) -> NDArray[np.float32]:
    height, width = size
    if raw.boxes is None and raw.cells is not None:
        return cell_boxes(raw.cells, size)
    if raw.boxes is None and rules.whole:
        return np.tile(np.array([0, 0, width, height], np.float32), (count, 1))
    if raw.boxes is None:
        raise MissingFieldError(
            "it has no boxes: give boxes=FOLDER, or boxes=whole: every region is the image"
        )
    boxes = raw.boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) < count or boxes.dtype.kind not in "fiu":
        raise InvalidImageError(f"boxes are {boxes.shape} of {boxes.dtype}, ({count}, 4) numbers are needed")
    if raw.count is None and len(boxes) != count:
        raise InvalidImageError(f"{len(boxes)} boxes for {count} regions")
    boxes = boxes[:count].astype(np.float32, copy=False)
    if not np.isfinite(boxes).all():
        raise InvalidImageError("boxes are not all finite")
    if raw.fractions:
        boxes = boxes * np.array([width, height, width, height], np.float32)
    elif boxes.max() <= _FRACTION and boxes.min() >= 0 and boxes.any() and min(size) > _FEW:
        repaired.append("boxes were fractions of the image, made pixels")
        boxes = boxes * np.array([width, height, width, height], np.float32)
    x1, y1, x2, y2 = boxes.T
    if boxes.min() < -SLACK or x2.max() > width + SLACK or y2.max() > height + SLACK:
        repaired.append("boxes left the image, cut to it")
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        x1, y1, x2, y2 = boxes.T
        if not ((x2 > x1) & (y2 > y1)).all():
            raise InvalidImageError(f"a box lies outside of the image of {width} x {height}")
    if not ((x2 >= x1) & (y2 >= y1)).all():
        where = int(np.flatnonzero(~((x2 >= x1) & (y2 >= y1)))[0])
        raise InvalidImageError(f"box {where} ends before it begins: {boxes[where].tolist()}")
    return boxes


def _column(
    name: str, values: NDArray[Any], count: int, rules: ImportRules, repaired: list[str]
) -> NDArray[Any]:
    values = values[:count] if values.ndim == 1 else values
    if values.shape != (count,) or values.dtype.kind not in "biuf":
        raise InvalidImageError(f"{name} is {values.shape} of {values.dtype}, ({count},) numbers are needed")
    if not name.endswith("_score"):
        last = rules.names.get(name, 0)
        bad = (values < 0) | ((values >= last) if last else (values >= 2**31))
        if bad.any():
            beyond = f"the {last} names" if last else "what a store holds"
            raise InvalidImageError(f"{name} {int(values[bad][0])} is not among {beyond}")
    else:
        if not ((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all():
            raise InvalidImageError(f"{name} is not within 0 and 1")
        if values.min() < 0 or values.max() > 1:
            repaired.append(f"{name} was beyond 0 and 1 by rounding, cut to it")
            values = values.clip(0, 1)
    return values.astype(OPTIONAL[name], copy=False)


def cell_boxes(cells: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the boxes of the cells of a grid over an image, row by row: (rows x columns, 4), pixels."""
    x = np.linspace(0, size[1], cells[1] + 1, dtype=np.float64).astype(np.float32)
    y = np.linspace(0, size[0], cells[0] + 1, dtype=np.float64).astype(np.float32)
    sides = [np.broadcast_to(side, cells) for side in (x[:-1], y[:-1, None], x[1:], y[1:, None])]
    return np.stack(sides, -1).reshape(-1, 4)
