"""Class and attribute ids with and without background, and class probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bua.store.formats.source import InvalidImageError, Source
from bua.structures.regions import Regions

#: Classes of the Visual Genome detectors with background, by which it is recognized without class names.
VISUAL_GENOME_CLASSES = 1601


def remove_background(column: str, ids: NDArray[Any], source: Source) -> NDArray[np.int32]:
    """Return class or attribute ids as a store numbers them, without background.

    Args:
        column: Name of the column, ``class_id`` or ``attribute_id``.
        ids: Ids as they are in the file, shape (n,).
        source: Source with the position of the background; without it the ids are unchanged.

    Returns:
        Ids of the store, shape (n,).

    Raises:
        InvalidImageError: If ids are not integers, or a region is background, which has no id in a store.
    """
    if ids.dtype.kind not in "iuf" or not np.isfinite(ids).all() or (ids != np.trunc(ids)).any():
        raise InvalidImageError(f"{column} must be integers, got {ids.dtype}")
    store_ids = ids.astype(np.int64)
    if column in source.excluded_columns:
        return store_ids.astype(np.int32)
    key, names = {
        "class_id": ("classes", source.class_names),
        "attribute_id": ("attributes", source.attribute_names),
    }[column]
    if source.background == "first":
        store_ids = store_ids - 1
    is_background = store_ids == len(names) if source.background == "last" and names else store_ids < 0
    if is_background.any():
        region = int(np.flatnonzero(is_background)[0])
        raise InvalidImageError(f"{column} of region {region} is the background; {key}=none leaves {key} out")
    return store_ids.astype(np.int32)


def best_class(probabilities: NDArray[Any], source: Source) -> dict[str, NDArray[Any]]:
    """Return the most likely class of each region, other than the background, and its probability.

    Args:
        probabilities: Class probabilities, shape (n, C).
        source: Source with the position of the background; without it see ``background_position``.

    Returns:
        The columns ``class_id`` and ``class_score``, shape (n,) each.

    Raises:
        InvalidImageError: If the number of probabilities does not match the class names.
    """
    if probabilities.ndim != 2 or probabilities.dtype.kind not in "fiu":
        raise InvalidImageError(
            "class probabilities must be numbers of shape (n, C), "
            f"got {probabilities.dtype} of shape {probabilities.shape}"
        )
    background = source.background or background_position(probabilities.shape[1], source.class_names)
    start = int(background == "first")
    stop = probabilities.shape[1] - int(background == "last")
    classes, names = probabilities[:, start:stop], source.class_names
    if classes.shape[1] < 1 or (
        "class_id" not in source.excluded_columns and len(names) not in (0, classes.shape[1])
    ):
        raise InvalidImageError(
            f"{probabilities.shape[1]} class probabilities (background: {background}) for {len(names)} names"
        )
    best = classes.argmax(1)
    scores = np.take_along_axis(classes, best[:, None], 1)[:, 0]
    return {"class_id": best.astype(np.int32), "class_score": scores.astype(np.float32)}


def background_position(columns: int, names: Sequence[str]) -> str:
    """Infer the position of the background from the number of class probabilities.

    Args:
        columns: Number of class probabilities.
        names: Class names without background, if known.

    Returns:
        ``first`` if there is one more probability than names, or there are 1,601 and no names; otherwise
        ``none``.
    """
    return "first" if columns == (len(names) + 1 if names else VISUAL_GENOME_CLASSES) else "none"


def one_hot_probabilities(regions: Regions, columns: int, first: int) -> NDArray[np.float32]:
    """Return class probabilities that are the class score for the class of a region, and otherwise 0.

    Args:
        regions: Regions with ``class_id`` and ``class_score``.
        columns: Number of classes, including the background if ``first`` is 1.
        first: Column of class 0.

    Returns:
        Class probabilities, shape (n, columns).
    """
    assert regions.class_id is not None
    assert regions.class_score is not None
    probabilities = np.zeros((len(regions), columns), np.float32)
    probabilities[np.arange(len(regions)), regions.class_id + first] = regions.class_score
    return probabilities
