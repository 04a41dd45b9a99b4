"""What an extraction holds in memory until it is written."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bua.detectors.photos import PhotoFile
from bua.errors import InputError
from bua.store.reader import ImageId
from bua.structures.regions import Regions


class Shard:
    """What was extracted since the last shard was written, in the type of the store."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.clear()

    def clear(self) -> None:
        """Begin another."""
        self.images: list[tuple[ImageId, Regions]] = []
        self.errors: dict[ImageId, str] = {}
        self.bytes = 0

    def add(self, ids: Sequence[ImageId], found: Sequence[Regions]) -> None:
        """Take the regions of some photographs."""
        for image_id, regions in zip(ids, found, strict=True):
            regions.check(image_id)
            with np.errstate(over="ignore"):
                features = regions.features.astype(self.dtype)
            if not np.isfinite(features).all():
                raise InputError(
                    f"image {image_id}: features beyond 65504 do not fit float16; dtype=float32 is needed"
                )
            self.images.append((image_id, replace(regions, features=features)))
            self.bytes += features.nbytes

    def sort(self, begin: int, window: Sequence[PhotoFile]) -> None:
        """Put the images of a window into the order of the list."""
        place = {photo.image_id: n for n, photo in enumerate(window)}
        self.images[begin:] = sorted(self.images[begin:], key=lambda image: place[image[0]])
