"""Grid features: the cells of a network's last map as regions, for the paper's ResNet baseline.

Anderson et al. 2018, section 5.1, resize the last map of a ResNet to 10 x 10 cells; Jiang et al. 2020
("In Defense of Grid Features") take the map of a detector's backbone as it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model, get_model_weights
from torchvision.ops import roi_align

from bua.detectors.c4.model import MEANS as CAFFE_MEANS
from bua.detectors.c4.weights import load_c4
from bua.detectors.download import download, load_into, read_state
from bua.detectors.fpn import ARCHITECTURES, load_fpn
from bua.detectors.frozen_detector import autocast_context, file_sha256, freeze, to_numpy
from bua.detectors.rcnn import DEVIATIONS, MEANS
from bua.detectors.resize import Frame, Prepared, Resize, stack
from bua.errors import InputError
from bua.structures.regions import Regions

#: Pixels of the resized image a cell of the map.
STRIDE = 32
ZOOMS = ("bilinear", "average")


class LastMap(nn.Module):
    """A network from images to its map of stride 32.

    Args:
        body: the network.
        means: of the colours, subtracted first.
        deviations: of the colours, divided by then.
        blue_first: whether colours are in Caffe's order.
        whole: what images are from 0 to: 255 or 1.
    """

    means: Tensor
    deviations: Tensor

    def __init__(
        self,
        body: nn.Module,
        *,
        means: Sequence[float],
        deviations: Sequence[float],
        blue_first: bool,
        whole: float,
    ) -> None:
        super().__init__()
        self.body, self.blue_first, self.whole = body, blue_first, whole
        self.register_buffer("means", torch.tensor(means).reshape(3, 1, 1))
        self.register_buffer("deviations", torch.tensor(deviations).reshape(3, 1, 1))

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Return the last map of resized images, RGB from 0 to 255."""
        pixels = pixels * (self.whole / 255)
        maps: Tensor = self.body(
            ((pixels.flip(1) if self.blue_first else pixels) - self.means) / self.deviations
        )
        return maps


class GridDetector:
    """The cells of a frozen network's last map.

    Args:
        name: of the detector.
        network: a ResNet of torchvision (``resnet101``), a detector of torchvision (``fpn_r50``) or
            ``vg_c4`` for the backbone of a Visual Genome detector.
        weights: file of its weights; none for those that torchvision publishes.
        resize: of photographs.
        cells: rows and columns of the grid; none for those of the map, which differ from photograph
            to photograph.
        zoom: how the map becomes that grid: ``bilinear``, as in the paper, or ``average`` over areas.
        device: to run on.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        channels_last: lay maps out for convolutions in mixed precision.

    Raises:
        InputError: the weights are missing, damaged or of another network.
    """

    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        name: str,
        network: str,
        weights: str | None,
        resize: Resize,
        cells: Sequence[int] | None,
        zoom: str,
        device: str = "cpu",
        precision: str = "32-true",
        channels_last: bool = False,
    ) -> None:
        if zoom not in ZOOMS:
            raise ValueError(f"zoom must be one of {', '.join(ZOOMS)}, not {zoom}")
        if cells is not None and (len(cells) != 2 or min(cells) < 1):
            raise ValueError(f"cells must be rows and columns, such as [10, 10], not {cells}")
        self.name, self.network, self.resize, self.zoom = name, network, resize, zoom
        self.grid = (cells[0], cells[1]) if cells is not None else None
        model, path = last_map(network, weights)
        self.model = freeze(model, device, channels_last)
        self.weights_sha256 = file_sha256(path)
        self.device, self.precision = torch.device(device), precision
        self.computing = autocast_context(self.device, precision)
        with torch.inference_mode():
            self.feature_size = int(self.model(torch.zeros(1, 3, 64, 64, device=self.device)).shape[1])

    def configuration(self) -> dict[str, Any]:
        """Return ``type`` and every argument that decides features."""
        return {
            "type": "GridDetector",
            "name": self.name,
            "network": self.network,
            "resize": self.resize.configuration(),
            "cells": list(self.grid) if self.grid else None,
            "zoom": self.zoom,
            "precision": self.precision,
        }

    @torch.inference_mode()
    def __call__(self, images: Sequence[Prepared]) -> list[Regions]:
        """Return the cells of photographs resized to one size, row by row, or given boxes pooled."""
        with self.computing:
            maps = self.model(stack(images).to(self.device)).float()
        return [
            self._cells(one[None], image) if image.boxes is None else _pooled(one[None], image)
            for one, image in zip(maps, images, strict=True)
        ]

    def _cells(self, maps: Tensor, image: Prepared) -> Regions:
        zoomed = maps
        if self.grid is not None and self.zoom == "bilinear":
            zoomed = F.interpolate(maps, self.grid, mode="bilinear", align_corners=False)
        elif self.grid is not None:
            zoomed = F.adaptive_avg_pool2d(maps, self.grid)
        features = to_numpy(zoomed[0].flatten(1).T.contiguous())
        return Regions(features, cell_boxes(zoomed.shape[2:], image.frame), image.frame.size)


def cell_boxes(grid: Sequence[int], frame: Frame) -> NDArray[np.float32]:
    """Return the part of the photograph behind each cell of a grid, row by row: (h w, 4), pixels."""
    height, width = frame.size
    y = np.linspace(0, height, grid[0] + 1, dtype=np.float32)
    x = np.linspace(0, width, grid[1] + 1, dtype=np.float32)
    boxes = [np.broadcast_to(e, tuple(grid)) for e in (x[:-1], y[:-1, None], x[1:], y[1:, None])]
    return np.stack(boxes, -1).reshape(-1, 4)


def _pooled(maps: Tensor, image: Prepared) -> Regions:
    assert image.boxes is not None
    boxes = image.frame.to_resized(torch.from_numpy(image.boxes).to(maps.device))
    features = roi_align(maps, [boxes], 7, 1 / STRIDE, aligned=True).mean((2, 3))
    return Regions(to_numpy(features), image.boxes, image.frame.size)


def last_map(network: str, weights: str | None) -> tuple[LastMap, Path]:
    """Return a network up to its last map, and the file of its weights.

    Raises:
        InputError: there is no such network, or its weights are missing, damaged or of another.
    """
    ordinary: dict[str, Any] = {"means": MEANS, "deviations": DEVIATIONS, "blue_first": False, "whole": 1.0}
    if network == "vg_c4":
        if weights is None:
            raise InputError("network=vg_c4 needs weights=FILE of a Visual Genome detector")
        trunk = load_c4(Path(weights), dilated=False).trunk
        caffe: dict[str, Any] = {"means": CAFFE_MEANS, "deviations": (1.0, 1.0, 1.0)}
        return LastMap(trunk, **caffe, blue_first=True, whole=255.0), Path(weights)
    if network in ARCHITECTURES:
        path = Path(weights) if weights else download(ARCHITECTURES[network].weights.url)
        detector = load_fpn(path, network, proposals=1)
        pyramid: Any = detector.backbone
        return LastMap(_Deepest(pyramid.body), **ordinary), path
    try:
        net, published = get_model(network, weights=None), get_model_weights(network)
    except ValueError:
        known = ", ".join(["vg_c4", *ARCHITECTURES, "resnet50, resnet101, resnet152"])
        raise InputError(f"there is no network {network!r} for grid features; there is {known}") from None
    if not hasattr(net, "layer4"):
        raise InputError(f"network={network} has no last map of a ResNet; resnet101 has")
    path = Path(weights) if weights else download(published.DEFAULT.url)
    load_into(net, read_state(path), path, network)
    body = nn.Sequential(*(child for name, child in net.named_children() if name not in ("avgpool", "fc")))
    return LastMap(body, **ordinary), path


class _Deepest(nn.Module):
    """The last of the maps that a body gives by name."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = list(self.body(images).values())[-1]
        return maps
