"""Classes and attributes: lists of names, class ids with and without background, probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.store.formats.item import InvalidImageError, Source
from bua.structures.regions import Regions

#: Classes of the Visual Genome detectors with the background; tells how it is counted without names.
VISUAL_GENOME = 1601


def without_background(column: str, ids: NDArray[Any], source: Source) -> NDArray[np.int32]:
    """Return ids of classes or attributes as a store counts them.

    Args:
        column: ``class_id`` or ``attribute_id``.
        ids: (n,), as the file has them.
        source: says where they count the background; otherwise they are taken as they stand.

    Raises:
        InvalidImageError: they are no numbers, or a region is background, which a store has no number for.
    """
    if ids.dtype.kind not in "iuf" or not np.isfinite(ids).all() or (ids != np.trunc(ids)).any():
        raise InvalidImageError(f"{column} is of {ids.dtype}, whole numbers are needed")
    numbers = ids.astype(np.int64)
    if column in source.without:
        return numbers.astype(np.int32)
    key, names = {
        "class_id": ("classes", source.class_names),
        "attribute_id": ("attributes", source.attribute_names),
    }[column]
    if source.background == "first":
        numbers = numbers - 1
    nothing = numbers == len(names) if source.background == "last" and names else numbers < 0
    if nothing.any():
        where = int(np.flatnonzero(nothing)[0])
        raise InvalidImageError(f"{column} of region {where} is the background; {key}=none leaves {key} out")
    return numbers.astype(np.int32)


def best_class(probabilities: NDArray[Any], source: Source) -> dict[str, NDArray[Any]]:
    """Return the likeliest class of each region and its probability, background left aside.

    Args:
        probabilities: (n, C).
        source: says which column is the background's: by default the first where there is a column
            more than names, or 1,601 columns and no names.

    Raises:
        InvalidImageError: there are not as many columns as names.
    """
    if probabilities.ndim != 2 or probabilities.dtype.kind not in "fiu":
        raise InvalidImageError(
            f"class probabilities are {probabilities.shape} of {probabilities.dtype}, (n, C) is needed"
        )
    background = source.background or counted(probabilities.shape[1], source.class_names)
    start = int(background == "first")
    stop = probabilities.shape[1] - int(background == "last")
    classes, names = probabilities[:, start:stop], source.class_names
    if classes.shape[1] < 1 or ("class_id" not in source.without and len(names) not in (0, classes.shape[1])):
        raise InvalidImageError(
            f"{probabilities.shape[1]} class probabilities (background: {background}) for {len(names)} names"
        )
    best = classes.argmax(1)
    scores = np.take_along_axis(classes, best[:, None], 1)[:, 0]
    return {"class_id": best.astype(np.int32), "class_score": scores.astype(np.float32)}


def counted(columns: int, names: Sequence[str]) -> str:
    """Tell from their number whether the first class probability is the background's."""
    return "first" if columns == (len(names) + 1 if names else VISUAL_GENOME) else "none"


def one_hot(regions: Regions, columns: int, first: int) -> NDArray[np.float32]:
    """Return class probabilities (n, columns) of which only the best is known; the others are 0.

    Args:
        regions: with ``class_id`` and ``class_score``.
        columns: number of classes, the background counted if ``first`` is 1.
        first: column of class 0.
    """
    assert regions.class_id is not None
    assert regions.class_score is not None
    table = np.zeros((len(regions), columns), np.float32)
    table[np.arange(len(regions)), regions.class_id + first] = regions.class_score
    return table
