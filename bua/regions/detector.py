"""What a detector is to the rest of bua: photographs in, regions out."""

from collections.abc import Sequence
from importlib import metadata
from time import strftime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bua.store.regions import Regions
from bua.store.schema import About

Photo = NDArray[np.uint8]


class Detector(Protocol):
    """Finds regions; everything that decides its features is in ``configuration`` and the hash.

    Attributes:
        name: of the detector, as ``bua extract detector=NAME`` has it.
        feature_size: numbers a region.
        class_names: background not counted.
        attribute_names: "no attribute" not counted.
        weights_sha256: of its weights.
    """

    name: str
    feature_size: int
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    weights_sha256: str

    def configuration(self) -> dict[str, Any]:
        """Return plain values: selection rule, colour order, resizing."""

    def __call__(self, photos: Sequence[Photo]) -> list[Regions]:
        """Return the regions of photographs (H, W, 3), all of one size."""


def describe(detector: Detector) -> About:
    """Return what a store says of the features of a detector."""
    versions = {name: metadata.version(name) for name in ("bua", "torch", "torchvision")}
    return About(
        detector=detector.name,
        configuration=detector.configuration(),
        weights_sha256=detector.weights_sha256,
        class_names=detector.class_names,
        attribute_names=detector.attribute_names,
        versions=versions,
        created=strftime("%Y-%m-%dT%H:%M:%S%z"),
    )
