"""Convert an image of a foreign file to the regions of a store, or give the reason why it is invalid.

Every repair is recorded in ``repaired`` and reported to the user.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.store.check import BOX_TOLERANCE
from bua.store.formats.image_sizes import ImageSizes
from bua.store.formats.source import InvalidImageError, RawImage
from bua.structures.annotations import ImageId
from bua.structures.regions import OPTIONAL, Regions

#: Boxes are taken for fractions if no coordinate exceeds the first, and the image is larger than the second.
_MAX_NORMALIZED, _MIN_SIDE = 1.001, 4
#: Largest deviation of a probability from the range 0 to 1 that is attributed to rounding.
_SCORE_TOLERANCE = 1e-4


class MissingFieldError(InvalidImageError):
    """An image lacks its size or its boxes; if the first image does, then all of the source do."""


@dataclass(frozen=True)
class ImportRules:
    """How to complete and validate the images of a source.

    Attributes:
        path: Path of the source, named in messages.
        sizes: Sizes of images, which take precedence over those in the source.
        whole_image_boxes: Whether to use the whole image as the box of every region if there are no boxes.
        excluded_columns: Columns to leave out.
        name_counts: Number of names for each column of ids; 0 if they are unknown.
    """

    path: Path
    sizes: ImageSizes | None
    whole_image_boxes: bool
    excluded_columns: frozenset[str]
    name_counts: dict[str, int]


def validate(raw: RawImage, image: ImageId, rules: ImportRules) -> tuple[Regions, list[str]]:
    """Return the regions of an image and the repairs that were made.

    Args:
        raw: Image of a foreign file.
        image: Id of the image.
        rules: How to complete and validate it.

    Raises:
        InvalidImageError: If the image is invalid.
    """
    repaired = list(raw.repaired)
    features = _validate_features(raw, repaired)
    count = len(features)
    if count == 0:
        raise InvalidImageError("has no regions")
    size = _find_size(raw, image, rules)
    boxes = _validate_boxes(raw, count, size, rules, repaired)
    columns = {
        name: _validate_column(name, values, count, rules, repaired)
        for name, values in raw.columns.items()
        if name not in rules.excluded_columns
    }
    return Regions(features, boxes, size, **columns), repaired


def _validate_features(raw: RawImage, repaired: list[str]) -> NDArray[np.float32]:
    features = raw.features
    if features.ndim != 2 or features.shape[1] < 1 or features.dtype.kind != "f":
        raise InvalidImageError(
            f"features must be floats of shape (n, D), got {features.dtype} of shape {features.shape}"
        )
    if raw.num_regions is not None:
        if not 0 <= raw.num_regions <= len(features):
            raise InvalidImageError(
                f"declares {raw.num_regions} regions, but has features of {len(features)}"
            )
        features = features[: raw.num_regions]
    finite = np.isfinite(features)
    if not finite.all():
        region = int(np.flatnonzero(~finite.all(1))[0])
        raise InvalidImageError(f"the features of region {region} are not all finite")
    if features.dtype != np.float32:
        repaired.append(f"features converted from {features.dtype.name} to float32")
        with np.errstate(over="ignore"):
            features = features.astype(np.float32)
        if not np.isfinite(features).all():
            raise InvalidImageError("features exceed the range of float32")
    return features


def _find_size(raw: RawImage, image: ImageId, rules: ImportRules) -> tuple[int, int]:
    given = rules.sizes.find(image) if rules.sizes is not None else None
    size = given or raw.size
    if size is None and rules.sizes is None:
        raise MissingFieldError(
            "image size is missing; set images= to a COCO JSON, a folder of image files or a .hw.tsv"
        )
    if size is None:
        raise InvalidImageError("image size is missing, also in images=")
    if not (1 <= size[0] < 2**31 and 1 <= size[1] < 2**31):
        raise InvalidImageError(f"height and width must be at least 1, got {size[0]} x {size[1]}")
    return size


def _validate_boxes(
    raw: RawImage, count: int, size: tuple[int, int], rules: ImportRules, repaired: list[str]
) -> NDArray[np.float32]:
    height, width = size
    if raw.boxes is None and raw.grid is not None:
        return grid_boxes(raw.grid, size)
    if raw.boxes is None and rules.whole_image_boxes:
        return np.tile(np.array([0, 0, width, height], np.float32), (count, 1))
    if raw.boxes is None:
        raise MissingFieldError(
            "boxes are missing; set boxes=FOLDER, or boxes=whole to use the whole image for every region"
        )
    boxes = raw.boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) < count or boxes.dtype.kind not in "fiu":
        raise InvalidImageError(
            f"boxes must be numbers of shape ({count}, 4), got {boxes.dtype} of shape {boxes.shape}"
        )
    if raw.num_regions is None and len(boxes) != count:
        raise InvalidImageError(f"{len(boxes)} boxes for {count} regions")
    boxes = boxes[:count].astype(np.float32, copy=False)
    if not np.isfinite(boxes).all():
        raise InvalidImageError("boxes are not all finite")
    if raw.normalized:
        boxes = boxes * np.array([width, height, width, height], np.float32)
    elif boxes.max() <= _MAX_NORMALIZED and boxes.min() >= 0 and boxes.any() and min(size) > _MIN_SIDE:
        repaired.append("boxes converted from fractions to pixels")
        boxes = boxes * np.array([width, height, width, height], np.float32)
    x1, y1, x2, y2 = boxes.T
    if boxes.min() < -BOX_TOLERANCE or x2.max() > width + BOX_TOLERANCE or y2.max() > height + BOX_TOLERANCE:
        repaired.append("boxes clipped to the image")
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        x1, y1, x2, y2 = boxes.T
        if not ((x2 > x1) & (y2 > y1)).all():
            raise InvalidImageError(f"a box is outside the image of {width} x {height} pixels")
    if not ((x2 >= x1) & (y2 >= y1)).all():
        region = int(np.flatnonzero(~((x2 >= x1) & (y2 >= y1)))[0])
        raise InvalidImageError(f"box {region} has a negative width or height: {boxes[region].tolist()}")
    return boxes


def _validate_column(
    name: str, values: NDArray[Any], count: int, rules: ImportRules, repaired: list[str]
) -> NDArray[Any]:
    values = values[:count] if values.ndim == 1 else values
    if values.shape != (count,) or values.dtype.kind not in "biuf":
        raise InvalidImageError(
            f"{name} must be numbers of shape ({count},), got {values.dtype} of shape {values.shape}"
        )
    if not name.endswith("_score"):
        num_names = rules.name_counts.get(name, 0)
        invalid = (values < 0) | ((values >= num_names) if num_names else (values >= 2**31))
        if invalid.any():
            allowed = f"the {num_names} names" if num_names else "the ids that a store can hold"
            raise InvalidImageError(f"{name} {int(values[invalid][0])} is not among {allowed}")
    else:
        if not ((values >= -_SCORE_TOLERANCE) & (values <= 1 + _SCORE_TOLERANCE)).all():
            raise InvalidImageError(f"{name} is not between 0 and 1")
        if values.min() < 0 or values.max() > 1:
            repaired.append(f"{name} clipped to 0 and 1 after rounding errors")
            values = values.clip(0, 1)
    return values.astype(OPTIONAL[name], copy=False)


def grid_boxes(grid: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the boxes of the cells of an even grid over an image, in row-major order.

    Args:
        grid: Number of rows and columns.
        size: Height and width of the image in pixels.

    Returns:
        Boxes x1 y1 x2 y2 in pixels, shape (rows * columns, 4).
    """
    x = np.linspace(0, size[1], grid[1] + 1, dtype=np.float64).astype(np.float32)
    y = np.linspace(0, size[0], grid[0] + 1, dtype=np.float64).astype(np.float32)
    sides = [np.broadcast_to(side, grid) for side in (x[:-1], y[:-1, None], x[1:], y[1:, None])]
    return np.stack(sides, -1).reshape(-1, 4)
