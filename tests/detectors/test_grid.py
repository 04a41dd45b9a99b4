"""Grid features: order and boxes of the cells, and the networks that they come from."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.models import ResNet101_Weights, resnet18

from bua.detectors import grid
from bua.detectors.c4.weights import save_c4
from bua.detectors.detector import detect_regions, store_metadata
from bua.detectors.grid import GridDetector, cell_boxes
from bua.detectors.photo import Resize
from bua.errors import InputError
from tests.helpers.detectors import save_torchvision_detector, small_c4

KEEP = Resize(min_size=None, max_size=1000, rule="torchvision")
MEAN, STD = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    net = resnet18(weights=None).eval()
    path = tmp_path_factory.mktemp("grid") / "resnet18.pth"
    torch.save(net.state_dict(), path)
    return net, str(path)


def detector(path: str, **more) -> GridDetector:
    options = {"network": "resnet18", "resize": KEEP, "cells": [3, 5], "zoom": "bilinear"} | more
    return GridDetector(name="grid_resnet", weights=path, **options)


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (130, 200, 3), np.uint8)


def last_map(net) -> torch.Tensor:
    image = (torch.from_numpy(photo()).permute(2, 0, 1) / 255 - MEAN) / STD
    with torch.inference_mode():
        out = net.maxpool(net.relu(net.bn1(net.conv1(image[None]))))
        return net.layer4(net.layer3(net.layer2(net.layer1(out))))


@pytest.mark.parametrize("zoom", ["bilinear", "aligned", "average"])
@pytest.mark.parametrize("cells", [[7, 7], [10, 10], [14, 14], [3, 5]])
def test_regions_are_the_cells_of_the_last_map_row_by_row(zoom, cells, weights) -> None:
    net, path = weights
    maps = last_map(net)
    expected = (
        F.adaptive_avg_pool2d(maps, cells)
        if zoom == "average"
        else F.interpolate(maps, cells, mode="bilinear", align_corners=zoom == "aligned")
    )
    options = {"zoom": "bilinear", "align_corners": True} if zoom == "aligned" else {"zoom": zoom}
    grid_detector = detector(path, cells=cells, **options)
    regions = detect_regions(grid_detector, photo())
    regions.check("photo")
    assert len(regions) == cells[0] * cells[1]
    for row, column in ((0, 0), (cells[0] - 1, 1)):
        np.testing.assert_allclose(
            regions.features[row * cells[1] + column], expected[0, :, row, column], atol=1e-4
        )
    assert store_metadata(grid_detector).grid == tuple(cells)


def test_the_outer_cells_of_an_aligned_grid_are_those_of_the_map(weights) -> None:
    net, path = weights
    maps = last_map(net)
    features = detect_regions(detector(path, align_corners=True), photo()).features
    for cell, (row, column) in ((0, (0, 0)), (4, (0, -1)), (10, (-1, 0)), (14, (-1, -1))):
        np.testing.assert_allclose(features[cell], maps[0, :, row, column], atol=1e-4)


def test_features_of_aligned_grids_are_not_those_of_others(weights) -> None:
    """A store of a version without the option equals a grid that is not aligned."""
    aligned, other = (detector(weights[1], align_corners=flag).configuration() for flag in (True, False))
    assert aligned != other
    assert "align_corners" not in other


@pytest.mark.parametrize("version", [None, "IMAGENET1K_V1", "IMAGENET1K_V2"])
def test_the_version_of_the_weights_decides_what_is_downloaded(version, monkeypatch) -> None:
    urls = []

    def download(url):
        urls.append(url)
        raise InputError("no network")

    monkeypatch.setattr(grid, "download", download)
    with pytest.raises(InputError, match="no network"):
        detector(None, network="resnet101", version=version)
    published = ResNet101_Weights[version] if version else ResNet101_Weights.DEFAULT
    assert urls == [published.url]


def test_without_cells_the_map_is_kept_as_it_is(weights) -> None:
    net, path = weights
    regions = detect_regions(detector(path, cells=None), photo())
    maps = last_map(net)
    assert len(regions) == maps.shape[2] * maps.shape[3]
    np.testing.assert_allclose(regions.features, maps[0].flatten(1).T, atol=1e-4)
    assert store_metadata(detector(path, cells=None)).grid is None


def test_cells_tile_the_image() -> None:
    boxes = cell_boxes((2, 4), (100, 200))
    assert boxes[0].tolist() == [0, 0, 50, 50]
    assert boxes[3].tolist() == [150, 0, 200, 50]
    assert boxes[4].tolist() == [0, 50, 50, 100]
    assert ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum() == 100 * 200


def test_given_boxes_are_pooled_from_the_map(weights) -> None:
    boxes = np.array([[0, 0, 100, 100], [100, 30, 200, 130]], np.float32)
    regions = detect_regions(detector(weights[1]), photo(), boxes)
    assert regions.features.shape == (2, 512)
    np.testing.assert_array_equal(regions.boxes, boxes)
    assert not np.allclose(regions.features[0], regions.features[1])


def test_the_backbone_of_a_visual_genome_detector_is_a_grid_of_stride_32(tmp_path) -> None:
    model = small_c4()
    save_c4(tmp_path / "c4.safetensors", model)
    grid_detector = GridDetector(
        name="grid_vg_c4",
        network="vg_c4",
        weights=str(tmp_path / "c4.safetensors"),
        resize=Resize(min_size=64, max_size=107, rule="caffe"),
        cells=None,
        zoom="bilinear",
    )
    regions = detect_regions(grid_detector, photo())
    assert regions.features.shape == (2 * 3, 2048)  # of an image of 64 x 98 pixels


def test_the_backbone_of_torchvisions_detector_is_a_grid(tmp_path) -> None:
    _, path = save_torchvision_detector("fpn_mobilenet", tmp_path)
    grid_detector = detector(str(path), network="fpn_mobilenet", cells=[2, 2], zoom="average")
    assert detect_regions(grid_detector, photo()).features.shape[0] == 4
    assert grid_detector.feature_size == detect_regions(grid_detector, photo()).features.shape[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "resnet1001"}, "resnet101, resnet152.*, got 'resnet1001'"),
        ({"network": "vgg16"}, "network=vgg16 is not a ResNet"),
        ({"network": "resnet50"}, r"resnet18\.pth: not weights of resnet50"),
        (
            {"network": "vg_c4", "path": None},
            "needs the weights of a Visual Genome detector",
        ),
        (
            {"version": "IMAGENET1K_V3", "path": None},
            "version=IMAGENET1K_V3: torchvision has IMAGENET1K_V1 of resnet18",
        ),
        (
            {"version": "IMAGENET1K_V1", "network": "fpn_mobilenet", "path": None},
            "leave it out for network=fpn_mobilenet",
        ),
    ],
)
def test_unsuitable_networks_and_weights_are_reported(options, message, weights) -> None:
    path = options.pop("path", weights[1])
    with pytest.raises(InputError, match=message):
        detector(path, **options)


@pytest.mark.parametrize("options", [{"zoom": "nearest"}, {"cells": [0, 4]}, {"cells": [4]}])
def test_invalid_grids_are_rejected(options, weights) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        detector(weights[1], **options)
