"""Resizing: both rules against references, and boxes mapped to the resized image and back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from bua.detectors.photo import Resize, stack_images

CAFFE = Resize(min_size=600, max_size=1000, rule="caffe")
sides = st.integers(1, 1500)


def slow_caffe_size(height: int, width: int) -> tuple[tuple[int, int], float]:
    """Return size and scale by Anderson et al.'s code: one scale, sides rounded by OpenCV (half to even)."""
    scale = 600 / min(height, width)
    if np.round(scale * max(height, width)) > 1000:
        scale = 1000 / max(height, width)
    return (max(1, int(np.rint(height * scale))), max(1, int(np.rint(width * scale)))), scale


def slow_bilinear(image: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    """OpenCV's INTER_LINEAR on floats, pixel by pixel, at exactly the given scale."""
    height, width = image.shape[:2]
    out = np.zeros((*size, image.shape[2]))
    for y in range(size[0]):
        for x in range(size[1]):
            v, u = (y + 0.5) / scale - 0.5, (x + 0.5) / scale - 0.5
            v, u = min(max(v, 0), height - 1), min(max(u, 0), width - 1)
            y0, x0 = int(v), int(u)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            fy, fx = v - y0, u - x0
            top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
            bottom = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
            out[y, x] = top * (1 - fy) + bottom * fy
    return out


@given(sides, sides)
def test_caffe_size_and_scale_equal_the_rule(height, width) -> None:
    geometry = CAFFE.geometry(height, width)
    size, scale = slow_caffe_size(height, width)
    assert geometry.resized_size == size
    assert geometry.scale == (scale, scale)


@pytest.mark.parametrize(
    ("size", "resized"),
    [((480, 640), (600, 800)), ((375, 500), (600, 800)), ((333, 500), (600, 901)), ((200, 640), (312, 1000))],
)
def test_caffe_sizes_of_typical_images(size, resized) -> None:
    assert CAFFE.geometry(*size).resized_size == resized


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_pixels_equal_bilinear_sampling_at_the_exact_scale(height, width, seed) -> None:
    photo = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    prepared = Resize(min_size=24, max_size=40, rule="caffe").prepare(photo)
    slow = slow_bilinear(photo.astype(float), prepared.geometry.resized_size, prepared.geometry.scale[0])
    np.testing.assert_allclose(prepared.pixels.permute(1, 2, 0), slow, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.integers(0, 99))
def test_the_torchvision_rule_equals_torchvision(height, width, seed) -> None:
    image = torch.from_numpy(np.random.default_rng(seed).random((3, height, width))).float()
    theirs = GeneralizedRCNNTransform(64, 107, [0.0] * 3, [1.0] * 3)([image])[0]
    ours, geometry = Resize(min_size=64, max_size=107, rule="torchvision")(image)
    assert geometry.resized_size == theirs.image_sizes[0]
    h, w = geometry.resized_size
    np.testing.assert_allclose(ours, theirs.tensors[0, :, :h, :w], atol=5e-5)


@pytest.mark.parametrize("rule", ["caffe", "torchvision"])
@given(sides, sides)
def test_boxes_are_unchanged_after_mapping_to_the_resized_image_and_back(rule, height, width) -> None:
    geometry = Resize(min_size=300, max_size=500, rule=rule).geometry(height, width)
    box = torch.tensor([[0.0, 0.0, width, height]])
    np.testing.assert_allclose(geometry.to_original(geometry.to_resized(box)), box, rtol=1e-5)


def test_without_a_side_an_image_keeps_its_size_unless_it_is_too_long() -> None:
    keep = Resize(min_size=None, max_size=100, rule="torchvision")
    assert keep.geometry(50, 80).resized_size == (50, 80)
    assert keep.geometry(200, 80).resized_size == (100, 40)
    photo = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert keep.prepare(photo).pixels.permute(1, 2, 0).tolist() == photo.tolist()


def test_stacking_pads_with_zeros_only_to_a_multiple() -> None:
    keep = Resize(min_size=None, max_size=100, rule="torchvision")
    batch = stack_images([keep.prepare(np.full((5, 7, 3), 9, np.uint8))], 4)
    assert batch.shape == (1, 3, 8, 8)
    assert batch[:, :, :5, :7].eq(9).all()
    assert batch.sum() == 9 * 3 * 35


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"rule": "cv2"}, "one of caffe, torchvision, got cv2"),
        ({"min_size": 2000}, "1 <= min_size <= max_size"),
    ],
)
def test_invalid_rules_are_rejected(numbers, message) -> None:
    with pytest.raises(ValueError, match=message):
        Resize(**({"min_size": 600, "max_size": 1000, "rule": "caffe"} | numbers))
