"""A detector without weights, for tests and for trying out a pipeline."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bua.detectors.photo import PreparedImage, Resize
from bua.structures.regions import Regions


class RandomDetector:
    """Random regions, the same each time for the same image.

    Args:
        feature_size: Size of a region feature.
        min_regions: Minimum number of regions of an image.
        max_regions: Maximum number of regions of an image.
        seed: Seed of the random numbers.
        name: Name of the detector. Default: ``random``.
    """

    grid: tuple[int, int] | None = None

    def __init__(
        self, *, feature_size: int, min_regions: int, max_regions: int, seed: int, name: str = "random"
    ) -> None:
        self.feature_size, self.min_regions, self.max_regions = feature_size, min_regions, max_regions
        self.seed, self.name = seed, name
        self.resize = Resize(min_size=None, max_size=1000, rule="torchvision")
        self.class_names = ("thing", "stuff")
        self.attribute_names = ("plain", "odd")
        self.weights_sha256 = hashlib.sha256(f"random {seed}".encode()).hexdigest()

    def configuration(self) -> dict[str, Any]:
        """Return the class name and the arguments, from which this detector can be built again."""
        return {
            "class": "RandomDetector",
            "name": self.name,
            "seed": self.seed,
            "feature_size": self.feature_size,
            "min_regions": self.min_regions,
            "max_regions": self.max_regions,
        }

    def __call__(self, images: Sequence[PreparedImage]) -> list[Regions]:
        """Return regions that depend only on the pixels of each image and on the seed."""
        return [self._regions(image) for image in images]

    def _regions(self, image: PreparedImage) -> Regions:
        height, width = image.geometry.original_size
        pixels = image.pixels.permute(1, 2, 0).to(torch.uint8).numpy()
        digest = hashlib.sha256(pixels.tobytes() + f"{self.seed} {pixels.shape}".encode()).digest()
        rng = np.random.default_rng(list(digest))
        count = int(rng.integers(self.min_regions, self.max_regions + 1))
        corners = np.sort(rng.random((count, 2, 2), dtype=np.float32), axis=1)
        boxes = corners.reshape(count, 4) * np.array([width, height] * 2, np.float32)
        if image.boxes is not None:
            boxes, count = image.boxes, len(image.boxes)
        return Regions(
            features=rng.random((count, self.feature_size), dtype=np.float32),
            boxes=boxes,
            size=(height, width),
            class_id=rng.integers(2, size=count, dtype=np.int32),
            class_score=rng.random(count, dtype=np.float32),
            attribute_id=rng.integers(2, size=count, dtype=np.int32),
            attribute_score=rng.random(count, dtype=np.float32),
        )
