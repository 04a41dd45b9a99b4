"""Looking through a whole store for damage that opening it does not show."""

import hashlib
from pathlib import Path

import numpy as np

from bua.store.reader import FeatureStore
from bua.store.regions import Regions


def check_store(path: Path) -> list[str]:
    """Return what is wrong with a store, one line each; nothing when it is sound.

    Raises:
        InputError: it cannot even be opened.
    """
    store = FeatureStore(path)
    digests = {name: hashlib.sha256() for name in store.about.sha256}
    problems = []
    for image_id in store:
        regions = store[image_id]
        for name, digest in digests.items():
            if name in regions.arrays():
                digest.update(np.ascontiguousarray(regions.arrays()[name]).data)
        problems += [f"{path}: image {image_id!r}: {text}" for text in _problems(regions)]
    for name, digest in digests.items():
        if digest.hexdigest() != store.about.sha256[name]:
            problems.append(f"{path}: {name} is not what was written: its sha256 differs")
    return problems


def _problems(regions: Regions) -> list[str]:
    found = []
    if not np.isfinite(regions.features).all():
        found.append("features are not all finite")
    height, width = regions.size
    x1, y1, x2, y2 = regions.boxes.T
    if not ((x1 >= -1) & (y1 >= -1) & (x2 <= width + 1) & (y2 <= height + 1)).all():
        found.append(f"a box leaves the image of {width} x {height}")
    if not ((x2 >= x1) & (y2 >= y1)).all():
        found.append("a box ends before it begins")
    return found
