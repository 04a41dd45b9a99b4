"""The interface of detectors, which turn images into regions, and the frozen detector behind most of them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from time import strftime
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bua.detectors.photo import Photo, PreparedImage, Resize, ResizeGeometry, stack_images
from bua.detectors.selection import Proposals, SelectionRule
from bua.store.schema import StoreMetadata
from bua.structures.regions import Regions

#: Autocast type of each precision, by Lightning's names; None for single precision.
PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@runtime_checkable
class Detector(Protocol):
    """Anything that finds regions in images.

    Whatever decides its features is in ``configuration`` and in ``weights_sha256``.

    Attributes:
        name: Name of the detector, as in ``bua extract detector=NAME``.
        feature_size: Size of a region feature.
        class_names: Names of the classes without background; empty if they are unknown.
        attribute_names: Names of the attributes without "no attribute"; empty if there are none.
        weights_sha256: SHA-256 of the weights.
        resize: Rule by which images are resized for the detector, in whatever process reads them.
        grid: Rows and columns of the cells if the regions of every image are the same grid, else None.
    """

    name: str
    feature_size: int
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    weights_sha256: str
    resize: Resize
    grid: tuple[int, int] | None

    def configuration(self) -> dict[str, Any]:
        """Return the class name and the arguments that decide features, to build the detector again."""

    def __call__(self, images: Sequence[PreparedImage]) -> list[Regions]:
        """Return the regions of each image of a batch of one resized size."""


def detect_regions(detector: Detector, photo: Photo, boxes: NDArray[np.float32] | None = None) -> Regions:
    """Return the regions of one image.

    Args:
        detector: Detector that finds or describes the regions.
        photo: Decoded image, shape (H, W, 3), RGB from 0 to 255.
        boxes: Boxes to describe instead of proposals, shape (K, 4), x1 y1 x2 y2 in pixels. Default: none.
    """
    return detector([detector.resize.prepare(photo, boxes)])[0]


def store_metadata(detector: Detector, **options: Any) -> StoreMetadata:
    """Return the metadata of a store that holds the features of a detector.

    Args:
        detector: Detector that computes the features.
        options: Whatever else decides the features; added to the configuration.
    """
    versions = {name: metadata.version(name) for name in ("bua", "torch", "torchvision")}
    return StoreMetadata(
        detector=detector.name,
        configuration={**detector.configuration(), **options},
        weights_sha256=detector.weights_sha256,
        class_names=detector.class_names,
        attribute_names=detector.attribute_names,
        versions=versions,
        created=strftime("%Y-%m-%dT%H:%M:%S%z"),
        grid=detector.grid if not options.get("given_boxes") else None,
    )


class ProposalModel(Protocol):
    """A model that proposes boxes and predicts the features, classes and attributes of each.

    Attributes:
        classes: Names of the classes, without background.
        attributes: Names of the attributes, without "no attribute"; empty if there are none.
        feature_size: Size of a region feature.
        resize: Rule by which images are resized for the model.
    """

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    feature_size: int
    resize: Resize

    def propose(
        self, pixels: Tensor, geometries: Sequence[ResizeGeometry], given: Sequence[Tensor | None]
    ) -> list[Proposals]:
        """Return the proposals of every image, or the predictions for given boxes.

        Args:
            pixels: Resized images, shape (B, 3, H, W), RGB from 0 to 255.
            geometries: Sizes of each image before and after resizing.
            given: Boxes of each image to use instead of proposals, shape (K, 4), in pixels of the
                original image, or None.
        """


class FrozenDetector:
    """A frozen proposal model with a rule that selects which proposals become regions.

    Args:
        name: Name of the detector.
        model: Proposal model; its parameters are frozen.
        selection: Rule that selects proposals; given boxes are all kept, in their order.
        weights_sha256: SHA-256 of the weights of the model.
        configuration: Class name and the arguments that decide features, except those below.
        device: Device to run on. Default: ``cpu``.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``. Default: ``32-true``.
        channels_last: Whether to use the channels-last memory format, which is faster in mixed precision.

    Raises:
        ValueError: If the precision is unknown or not available on the device.
    """

    grid: tuple[int, int] | None = None

    def __init__(
        self,
        *,
        name: str,
        model: Any,
        selection: SelectionRule,
        weights_sha256: str,
        configuration: dict[str, Any],
        device: str = "cpu",
        precision: str = "32-true",
        channels_last: bool = False,
    ) -> None:
        self.name, self.selection = name, selection
        self.model: Any = freeze(model, device, channels_last)
        self.weights_sha256, self._configuration = weights_sha256, configuration
        self.device, self.precision, self.channels_last = torch.device(device), precision, channels_last
        self.autocast = autocast_context(self.device, precision)
        self.feature_size: int = model.feature_size
        self.class_names, self.attribute_names = model.classes, model.attributes
        self.resize: Resize = model.resize

    def configuration(self) -> dict[str, Any]:
        """Return the class name and every argument that decides features."""
        selection = self.selection.configuration()
        return {**self._configuration, "selection": selection, "precision": self.precision}

    @torch.inference_mode()
    def propose(self, images: Sequence[PreparedImage]) -> list[Proposals]:
        """Return the proposals of each image of a batch of one resized size, before selection."""
        pixels = stack_images(images).to(self.device, non_blocking=True)
        if self.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        geometries = [image.geometry for image in images]
        given = [None if i.boxes is None else torch.from_numpy(i.boxes).to(self.device) for i in images]
        with self.autocast:
            proposals: list[Proposals] = self.model.propose(pixels, geometries, given)
        return proposals

    @torch.inference_mode()
    def __call__(self, images: Sequence[PreparedImage]) -> list[Regions]:
        """Return the regions of each image of a batch of one resized size, in single precision."""
        return [
            self._regions(proposals, image)
            for proposals, image in zip(self.propose(images), images, strict=True)
        ]

    def _regions(self, proposals: Proposals, image: PreparedImage) -> Regions:
        if image.boxes is not None:
            kept, boxes = torch.arange(len(proposals), device=proposals.boxes.device), image.boxes
        else:
            kept, selected = self.selection.select(proposals)
            boxes = to_numpy(selected)
        labels = {name: to_numpy(column[kept]) for name, column in best_labels(proposals).items()}
        features = to_numpy(proposals.features[kept])
        return Regions(features=features, boxes=boxes, size=image.geometry.original_size, **labels)


def best_labels(proposals: Proposals) -> dict[str, Tensor]:
    """Return the most probable class and attribute of each proposal, and their probabilities, by column."""
    class_score, class_id = proposals.probabilities[:, 1:].max(1)
    columns = {"class_id": class_id.int(), "class_score": class_score}
    if proposals.attributes is not None:
        attribute_score, attribute_id = proposals.attributes[:, 1:].max(1)
        columns |= {"attribute_id": attribute_id.int(), "attribute_score": attribute_score}
    return columns


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array on the CPU."""
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


def freeze(model: nn.Module, device: str, channels_last: bool) -> nn.Module:
    """Move a model to a device and put it into evaluation mode, with all parameters frozen."""
    model.to(device).eval().requires_grad_(False)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def autocast_context(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the autocast context of a precision, which can be entered repeatedly.

    Args:
        device: Device that the model runs on.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.

    Raises:
        ValueError: If the precision is unknown or not available on the device.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision}")
    dtype = PRECISIONS[precision]
    if dtype is torch.float16 and device.type == "cpu":
        raise ValueError("precision 16-mixed needs a GPU; use bf16-mixed on a CPU")
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)
