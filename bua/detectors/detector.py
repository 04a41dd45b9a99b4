"""What a detector is to the rest of bua: photographs in, regions out."""

from collections.abc import Sequence
from importlib import metadata
from time import strftime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bua.detectors.resize import Prepared, Resize
from bua.store.schema import StoreMetadata
from bua.structures.regions import Regions

Photo = NDArray[np.uint8]


class Detector(Protocol):
    """Finds regions; everything that decides its features is in ``configuration`` and the hash.

    Attributes:
        name: of the detector, as ``bua extract detector=NAME`` has it.
        feature_size: numbers a region.
        class_names: background not counted; empty where they are not known.
        attribute_names: "no attribute" not counted.
        weights_sha256: of its weights.
        resize: how photographs are to be resized for it, in whatever process reads them.
        grid: rows and columns of its cells, if its regions are always the same grid.
    """

    name: str
    feature_size: int
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    weights_sha256: str
    resize: Resize
    grid: tuple[int, int] | None

    def configuration(self) -> dict[str, Any]:
        """Return ``type`` and every argument that decides features, so that it can be built again."""

    def __call__(self, images: Sequence[Prepared]) -> list[Regions]:
        """Return the regions of photographs that were resized to one size."""


def detect_regions(detector: Detector, photo: Photo, boxes: NDArray[np.float32] | None = None) -> Regions:
    """Return the regions of one photograph (H, W, 3), or of given boxes in it."""
    return detector([detector.resize.prepare(photo, boxes)])[0]


def store_metadata(detector: Detector, **more: Any) -> StoreMetadata:
    """Return what a store says of the features of a detector.

    Args:
        detector: whose features they are.
        more: what else decides the features, added to the configuration.
    """
    versions = {name: metadata.version(name) for name in ("bua", "torch", "torchvision")}
    return StoreMetadata(
        detector=detector.name,
        configuration={**detector.configuration(), **more},
        weights_sha256=detector.weights_sha256,
        class_names=detector.class_names,
        attribute_names=detector.attribute_names,
        versions=versions,
        created=strftime("%Y-%m-%dT%H:%M:%S%z"),
        grid=detector.grid if not more.get("given_boxes") else None,
    )
