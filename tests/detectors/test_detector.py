"""The detector that ships with bua, and its parts."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from torchvision.ops import box_iou

from bua.data.detection.dataset import DetectionDataset
from bua.detectors.detection_evaluator import propose_image
from bua.detectors.detector import detect_regions
from bua.detectors.pyramid import (
    NarrowPyramid,
    NarrowPyramidRCNN,
    PyramidDetector,
    load_weights,
    save_weights,
)
from bua.detectors.rcnn import attribute_loss
from bua.detectors.selection import Selection
from bua.engine.instantiate import to_plain
from bua.errors import InputError
from bua.evaluation.detection import evaluate_detector
from bua.public_names import to_public

ADAPTIVE = Selection(min_regions=10, max_regions=100, threshold=0.2, nms_iou=0.3, pixel=1)
SHIPPED = Path(str(files("bua.detectors.weights") / "scenes_fpn.safetensors"))


def small_model(attributes: int = 3) -> tuple[NarrowPyramidRCNN, dict]:
    sizes = {
        "classes": ["a", "b"],
        "attributes": ["x", "y", "z"][:attributes],
        "anchors": [[12], [24]],
        "feature_size": 16,
        "proposals": 30,
        "canonical_scale": 32,
        "min_size": 48,
        "max_size": 96,
        "backbone": {"stem_size": 4, "widths": [6, 8], "depth": 1, "out_channels": 8},
    }
    torch.manual_seed(0)
    return NarrowPyramidRCNN(**(sizes | {"backbone": NarrowPyramid(**sizes["backbone"])})), sizes


@pytest.fixture(scope="module")
def shipped() -> PyramidDetector:
    return PyramidDetector(name="scenes_fpn", weights=None, selection=ADAPTIVE)


def test_the_shipped_weights_are_small_and_the_ones_that_were_evaluated() -> None:
    record = json.loads(SHIPPED.with_suffix(".json").read_text())
    assert SHIPPED.stat().st_size <= 6 * 2**20
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() == record["sha256"]
    assert record["measured"]["AP50"] >= 0.80
    assert record["recipe"]["scenes"]["counts"]["train"] > 0
    with initialize_config_module("bua.conf", version_base="1.3"):
        trainer = to_public(to_plain(compose("train", record["recipe"]["train"]).trainer))
    shown = {"profiler", "enable_progress_bar"}  # options of what is printed, which do not change the weights
    recorded = record["recipe"]["trainer"]
    assert {k: v for k, v in trainer.items() if k not in shown} == {
        k: v for k, v in recorded.items() if k not in shown
    }
    assert "/" not in json.dumps(record["provenance"]["sources"])


@pytest.mark.slow
def test_the_shipped_detector_finds_objects_in_test_images(scenes, shipped) -> None:
    test = DetectionDataset(scenes / "instances_test.json", scenes / "images", flip=False)
    scores = evaluate_detector(shipped.model, test, "coco")
    assert scores["AP50"] >= 0.80


def test_regions_cover_the_objects_with_the_right_classes(scenes, shipped) -> None:
    test = DetectionDataset(scenes / "instances_test.json", scenes / "images", flip=False)
    correct = total = 0
    for n in range(len(test)):
        image, target, _ = test[n]
        photo = image.permute(1, 2, 0).numpy()
        regions = detect_regions(shipped, photo)
        regions.check(n)
        overlap, best = box_iou(target["boxes"], torch.from_numpy(regions.boxes)).max(1)
        same_class = torch.from_numpy(regions.class_id)[best] + 1 == target["labels"]
        correct, total = correct + int((same_class & (overlap > 0.5)).sum()), total + len(best)
    assert correct / total > 0.8


def test_an_image_has_the_same_regions_alone_and_in_a_batch(shipped) -> None:
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 255, (90, 120, 3), np.uint8) for _ in range(3)]
    batch = shipped([shipped.resize.prepare(photo) for photo in photos])
    for photo, regions in zip(photos, batch, strict=True):
        alone = detect_regions(shipped, photo)
        np.testing.assert_allclose(alone.boxes, regions.boxes, atol=1e-2)
        np.testing.assert_allclose(alone.features, regions.features, atol=1e-3)


def test_images_of_two_sizes_in_a_batch_are_rejected(shipped) -> None:
    two = [shipped.resize.prepare(np.zeros((9, width, 3), np.uint8)) for width in (9, 8)]
    with pytest.raises(ValueError, match="same resized size"):
        shipped(two)


def test_padding_an_image_to_the_size_of_another_changes_its_features(shipped) -> None:
    """This is why images of different resized sizes are never in one batch."""
    photo = np.random.default_rng(0).integers(0, 255, (160, 160, 3), np.uint8)
    box = np.array([[20, 20, 140, 140]], np.float32)
    alone = detect_regions(shipped, photo, box).features
    padded = np.zeros((160, 320, 3), np.uint8)
    padded[:, :160] = photo
    with_padding = detect_regions(shipped, padded, box).features
    assert np.abs(alone - with_padding).max() > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (500, 333)])
def test_images_of_unusual_sizes_have_regions_inside_them(size, shipped) -> None:
    regions = detect_regions(shipped, np.full((*size, 3), 128, np.uint8))
    regions.check("odd")
    assert regions.boxes[:, 2].max() <= size[1] + 1e-3
    assert regions.boxes[:, 3].max() <= size[0] + 1e-3


def test_fixed_selection_gives_36_regions() -> None:
    rule = Selection(min_regions=36, max_regions=36, threshold=0.2, nms_iou=0.3, pixel=1)
    detector = PyramidDetector(name="scenes_fpn", weights=None, selection=rule)
    assert (
        len(detect_regions(detector, np.random.default_rng(0).integers(0, 255, (160, 160, 3), np.uint8)))
        == 36
    )


def test_weights_can_be_saved_and_loaded(tmp_path) -> None:
    model, sizes = small_model()
    model.eval()
    save_weights(tmp_path / "w.safetensors", model, sizes)
    loaded, read = load_weights(tmp_path / "w.safetensors")
    assert read == json.loads(json.dumps(sizes))
    image = torch.rand(3, 48, 64)
    ours, theirs = (propose_image(each, image) for each in (model.half().float(), loaded.eval()))
    torch.testing.assert_close(ours.boxes, theirs.boxes, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "text", "other"])
def test_damaged_weight_files_are_reported(damage: str, tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    model, sizes = small_model()
    if damage == "other":
        save_weights(path, model, sizes | {"feature_size": 99})
    elif damage != "missing":
        save_weights(path, model, sizes)
        content = path.read_bytes()
        path.write_bytes({"cut": content[:-50], "empty": b"", "text": b"x" * 500}[damage])
    with pytest.raises(InputError, match="w.safetensors"):
        load_weights(path)


def test_training_losses_are_finite_and_every_parameter_has_a_gradient() -> None:
    model, _ = small_model()
    targets = [
        {
            "boxes": torch.tensor([[4.0, 4, 30, 30], [30, 10, 44, 44]]),
            "labels": torch.tensor([1, 2]),
            "attributes": torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0]], dtype=torch.bool),
        }
    ]
    losses = model.losses([torch.rand(3, 48, 48)], targets)
    assert len(losses) == 5
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_the_attribute_loss_averages_over_labels_then_regions() -> None:
    logits = torch.tensor([[0.1, 2.0, -1.0], [1.0, 0.0, 0.5], [3.0, 3.0, 3.0]])
    targets = torch.tensor([[0, 1, 1], [0, 0, 0], [0, 0, 1]], dtype=torch.bool)
    p = logits.softmax(1)
    first = -(p[0, 1].log() + p[0, 2].log()) / 2
    expected = (first - p[2, 2].log()) / 2
    torch.testing.assert_close(attribute_loss(logits, targets), expected)
    assert attribute_loss(logits, torch.zeros_like(targets)) == 0
