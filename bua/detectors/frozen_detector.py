"""A frozen detector: a model that proposes, a rule that selects, and what a store needs of both."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bua.detectors.proposals import Proposals
from bua.detectors.resize import Frame, Prepared, Resize, stack
from bua.detectors.selection import SelectionRule
from bua.structures.regions import Regions

#: Numbers that a network may compute with, by Lightning's names.
PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Proposer(Protocol):
    """A model that says what it knows of the proposals of images."""

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    feature_size: int
    resize: Resize

    def propose(
        self, pixels: Tensor, frames: Sequence[Frame], given: Sequence[Tensor | None]
    ) -> list[Proposals]:
        """Return the proposals of every image."""


class FrozenDetector:
    """Regions from a frozen model of proposals.

    Args:
        name: of the detector.
        model: that proposes.
        selection: which proposals become regions; given boxes are all kept, in their order.
        weights_sha256: of the model's weights.
        configuration: the arguments that decide features, and ``type``.
        device: to run on.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        channels_last: lay maps out for convolutions in mixed precision.
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
        self.computing = autocast_context(self.device, precision)
        self.feature_size: int = model.feature_size
        self.class_names, self.attribute_names = model.classes, model.attributes
        self.resize: Resize = model.resize

    def configuration(self) -> dict[str, Any]:
        """Return ``type`` and every argument that decides features."""
        more = {"selection": self.selection.configuration(), "precision": self.precision}
        return {**self._configuration, **more}

    @torch.inference_mode()
    def propose(self, images: Sequence[Prepared]) -> list[Proposals]:
        """Return what the model knows of the proposals of photographs resized to one size."""
        pixels = stack(images).to(self.device, non_blocking=True)
        if self.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        given = [None if i.boxes is None else torch.from_numpy(i.boxes).to(self.device) for i in images]
        with self.computing:
            found: list[Proposals] = self.model.propose(pixels, [image.frame for image in images], given)
        return found

    @torch.inference_mode()
    def __call__(self, images: Sequence[Prepared]) -> list[Regions]:
        """Return the regions of photographs resized to one size, their features in single precision."""
        return [
            self._regions(proposals, image)
            for proposals, image in zip(self.propose(images), images, strict=True)
        ]

    def _regions(self, found: Proposals, image: Prepared) -> Regions:
        if image.boxes is not None:
            kept, boxes = torch.arange(len(found), device=found.boxes.device), image.boxes
        else:
            kept, selected = self.selection.select(found)
            boxes = to_numpy(selected)
        named = {name: to_numpy(column[kept]) for name, column in named_columns(found).items()}
        return Regions(features=to_numpy(found.features[kept]), boxes=boxes, size=image.frame.size, **named)


def named_columns(found: Proposals) -> dict[str, Tensor]:
    """Return the best class and attribute of each proposal and their probabilities, for the store."""
    class_score, class_id = found.probabilities[:, 1:].max(1)
    columns = {"class_id": class_id.int(), "class_score": class_score}
    if found.attributes is not None:
        attribute_score, attribute_id = found.attributes[:, 1:].max(1)
        columns |= {"attribute_id": attribute_id.int(), "attribute_score": attribute_score}
    return columns


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array on the CPU."""
    out: NDArray[Any] = tensor.cpu().numpy()
    return out


def freeze(model: nn.Module, device: str, channels_last: bool) -> nn.Module:
    """Return a model on a device, in evaluation mode, with nothing to learn."""
    model.to(device).eval().requires_grad_(False)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def autocast_context(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a model computes.

    Raises:
        ValueError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision}")
    kind = PRECISIONS[precision]
    if kind is torch.float16 and device.type == "cpu":
        raise ValueError("precision 16-mixed needs a GPU; bf16-mixed works on a CPU, too")
    return torch.autocast(device.type, kind or torch.bfloat16, enabled=kind is not None)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
