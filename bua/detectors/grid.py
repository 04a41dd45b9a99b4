"""Grid features: the cells of a network's last feature map as regions, for the paper's ResNet baseline.

Anderson et al. 2018, section 5.1, resize the last map of a ResNet to 10 x 10 cells; Jiang et al. 2020
("In Defense of Grid Features") take the map of a detector's backbone as it is.

Shapes: B images, D channels of the map, h x w cells, K given boxes.
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

from bua.detectors.c4.model import CAFFE_MEANS
from bua.detectors.c4.weights import load_c4
from bua.detectors.detector import autocast_context, freeze, to_numpy
from bua.detectors.fpn import ARCHITECTURES, load_fpn
from bua.detectors.photo import PreparedImage, Resize, ResizeGeometry, stack_images
from bua.detectors.rcnn import IMAGENET_DEVIATIONS, IMAGENET_MEANS
from bua.detectors.weight_files import download, load_state_dict, read_state_dict
from bua.errors import InputError, check_flag
from bua.io.files import file_sha256
from bua.structures.regions import Regions

#: Stride of the last map: pixels of the resized image per cell.
STRIDE = 32
ZOOMS = ("bilinear", "average")


class NormalizedBackbone(nn.Module):
    """A network from RGB images to its last feature map, of stride 32, with the normalization it expects.

    Args:
        body: Network from normalized images to the map.
        means: Means that are subtracted from the color channels.
        deviations: Standard deviations that the color channels are then divided by.
        bgr: Whether the network expects Caffe's channel order, blue first.
        max_value: Value of a saturated channel before normalization: 255 or 1.
    """

    means: Tensor
    deviations: Tensor

    def __init__(
        self,
        body: nn.Module,
        *,
        means: Sequence[float],
        deviations: Sequence[float],
        bgr: bool,
        max_value: float,
    ) -> None:
        super().__init__()
        self.body, self.bgr, self.max_value = body, bgr, max_value
        self.register_buffer("means", torch.tensor(means).reshape(3, 1, 1))
        self.register_buffer("deviations", torch.tensor(deviations).reshape(3, 1, 1))

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Return the last map of resized images, RGB from 0 to 255."""
        pixels = pixels * (self.max_value / 255)
        maps: Tensor = self.body(((pixels.flip(1) if self.bgr else pixels) - self.means) / self.deviations)
        return maps


class GridDetector:
    """The cells of the last map of a frozen network, as regions.

    Args:
        name: Name of the detector.
        network: A ResNet of torchvision (``resnet101``), a detector of torchvision (``fpn_r50``), or
            ``vg_c4`` for the backbone of a Visual Genome detector.
        weights: Weight file of the network, or None to download the weights that torchvision publishes.
        resize: Rule by which images are resized.
        cells: Rows and columns of the grid, or None to keep the map, whose size differs between images.
        zoom: How the map is resized to the grid: ``bilinear``, as in the paper, or ``average`` pooling.
        align_corners: Whether bilinear resizing maps the outer cells of the grid onto those of the map, as in
            the release of the paper. Default: no.
        version: Name of the weights of a ResNet to download where no file is given, such as
            ``IMAGENET1K_V1``. Default: those that torchvision recommends.
        device: Device to run on. Default: ``cpu``.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``. Default: ``32-true``.
        channels_last: Whether to use the channels-last memory format, which is faster in mixed precision.

    Raises:
        InputError: If the network or the version is unknown, or the weights are missing, damaged or of
            another network.
        ValueError: If ``cells``, ``zoom`` or ``precision`` is invalid.
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
        align_corners: bool = False,
        version: str | None = None,
        device: str = "cpu",
        precision: str = "32-true",
        channels_last: bool = False,
    ) -> None:
        if zoom not in ZOOMS:
            raise ValueError(f"zoom must be one of {', '.join(ZOOMS)}, got {zoom}")
        if cells is not None and (len(cells) != 2 or min(cells) < 1):
            raise ValueError(f"cells must be rows and columns such as [10, 10], got {cells}")
        check_flag("align_corners", align_corners)
        self.name, self.network, self.resize, self.zoom = name, network, resize, zoom
        self.align_corners = align_corners
        self.grid = (cells[0], cells[1]) if cells is not None else None
        model, path = load_backbone(network, weights, version)
        self.model = freeze(model, device, channels_last)
        self.weights_sha256 = file_sha256(path)
        self.device, self.precision = torch.device(device), precision
        self.autocast = autocast_context(self.device, precision)
        with torch.inference_mode():
            self.feature_size = int(self.model(torch.zeros(1, 3, 64, 64, device=self.device)).shape[1])

    def configuration(self) -> dict[str, Any]:
        """Return the class name and every argument that decides features."""
        return {
            "class": "GridDetector",
            "name": self.name,
            "network": self.network,
            "resize": self.resize.configuration(),
            "cells": list(self.grid) if self.grid else None,
            "zoom": self.zoom,
            **({"align_corners": True} if self.align_corners else {}),  # stores of before have no such key
            "precision": self.precision,
        }

    @torch.inference_mode()
    def __call__(self, images: Sequence[PreparedImage]) -> list[Regions]:
        """Return the cells of each image of a batch of one resized size, row by row, or its given boxes."""
        with self.autocast:
            maps = self.model(stack_images(images).to(self.device)).float()
        return [
            self._cells(image_map[None], image)
            if image.boxes is None
            else _pool_boxes(image_map[None], image.boxes, image.geometry)
            for image_map, image in zip(maps, images, strict=True)
        ]

    def _cells(self, maps: Float[Tensor, "1 D h w"], image: PreparedImage) -> Regions:
        if self.grid is not None and self.zoom == "bilinear":
            maps = F.interpolate(maps, self.grid, mode="bilinear", align_corners=self.align_corners)
        elif self.grid is not None:
            maps = F.adaptive_avg_pool2d(maps, self.grid)
        features = to_numpy(maps[0].flatten(1).T.contiguous())
        size = image.geometry.original_size
        return Regions(features, cell_boxes(maps.shape[2:], size), size)


def cell_boxes(grid: Sequence[int], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the box of every cell of a grid over an image, row by row.

    Args:
        grid: Rows h and columns w.
        size: Height and width of the image in pixels.

    Returns:
        Boxes as x1 y1 x2 y2 in pixels, shape (h w, 4).
    """
    height, width = size
    y = np.linspace(0, height, grid[0] + 1, dtype=np.float32)
    x = np.linspace(0, width, grid[1] + 1, dtype=np.float32)
    edges = [np.broadcast_to(e, tuple(grid)) for e in (x[:-1], y[:-1, None], x[1:], y[1:, None])]
    return np.stack(edges, -1).reshape(-1, 4)


def _pool_boxes(
    maps: Float[Tensor, "1 D h w"], boxes: NDArray[np.float32], geometry: ResizeGeometry
) -> Regions:
    """Return given boxes as regions, with the mean of the map over each box as its feature."""
    resized = geometry.to_resized(torch.from_numpy(boxes).to(maps.device))
    features = roi_align(maps, [resized], 7, 1 / STRIDE, aligned=True).mean((2, 3))
    return Regions(to_numpy(features), boxes, geometry.original_size)


def load_backbone(
    network: str, weights: str | None, version: str | None = None
) -> tuple[NormalizedBackbone, Path]:
    """Return a network up to its last map, and the path of its weight file.

    Args:
        network: Name of the network, as in ``GridDetector``.
        weights: Weight file, or None to download the weights that torchvision publishes.
        version: Name of the weights to download where no file is given. Default: those that torchvision
            recommends.

    Raises:
        InputError: If the network or the version is unknown, or the weights are missing, damaged or of
            another network.
    """
    imagenet: dict[str, Any] = {"means": IMAGENET_MEANS, "deviations": IMAGENET_DEVIATIONS}
    imagenet |= {"bgr": False, "max_value": 1.0}
    caffe: dict[str, Any] = {"means": CAFFE_MEANS, "deviations": (1.0, 1.0, 1.0)}
    caffe |= {"bgr": True, "max_value": 255.0}
    version = version if weights is None else None
    if version is not None and (network == "vg_c4" or network in ARCHITECTURES):
        raise InputError(f"version={version}: only ResNets have several; leave it out for network={network}")
    if network == "vg_c4":
        if weights is None:
            raise InputError("network=vg_c4 needs the weights of a Visual Genome detector; pass weights=FILE")
        trunk = load_c4(Path(weights), dilated=False).trunk
        return NormalizedBackbone(trunk, **caffe), Path(weights)
    if network in ARCHITECTURES:
        path = Path(weights) if weights else download(ARCHITECTURES[network].weights.url)
        backbone: Any = load_fpn(path, network, proposals=1).backbone
        return NormalizedBackbone(_DeepestMap(backbone.body), **imagenet), path
    try:
        net, published = get_model(network, weights=None), get_model_weights(network)
    except ValueError:
        known = ", ".join(["vg_c4", *ARCHITECTURES, "resnet50, resnet101, resnet152"])
        raise InputError(f"network must be a network for grid features ({known}), got {network!r}") from None
    if not hasattr(net, "layer4"):
        raise InputError(f"network={network} is not a ResNet; use one such as resnet101")
    versions = [weight.name for weight in published]
    if version is not None and version not in versions:
        known = " and ".join(versions)
        raise InputError(f"version={version}: torchvision has {known} of {network}; give one of these")
    path = Path(weights) if weights else download(published[version or "DEFAULT"].url)
    load_state_dict(net, read_state_dict(path), path, network)
    body = nn.Sequential(*(child for name, child in net.named_children() if name not in ("avgpool", "fc")))
    return NormalizedBackbone(body, **imagenet), path


class _DeepestMap(nn.Module):
    """Return the last of the named maps of a backbone."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = list(self.body(images).values())[-1]
        return maps
