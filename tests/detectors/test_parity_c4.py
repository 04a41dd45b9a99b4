"""Parity of the paper's detector with an independent implementation of its airsplay form."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from bua.detectors.c4.model import C4RCNN
from bua.detectors.c4.weights import load_c4
from tests.helpers.parity import load

SCALES = {
    "objectness_logits": 0.05,
    "anchor_deltas": 0.005,
    "cls_score": 0.05,
    "bbox_pred": 0.02,
    "cls_embedding": 1.0,
    "fc_attr": 0.03,
    "attr_score": 0.1,
}


def weight(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return a weight as described in the README of the parity file."""
    rng = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    z = rng.standard_normal(shape).astype(np.float32)
    if key.endswith("norm.weight"):
        return (0.1 if "conv3" in key else 1) * (1 + 0.1 * z)
    if key.endswith(("norm.bias", "running_mean")):
        return 0.1 * z
    if key.endswith("running_var"):
        return np.exp(0.1 * z)
    if key.endswith("bias"):
        return 0.01 * z
    if len(shape) == 4 and "objectness_logits" not in key and "anchor_deltas" not in key:
        fan = shape[1] * shape[2] * shape[3]
        return z * np.sqrt(2 / fan) * (0.01 if "stem" in key else 1)
    return next(scale for part, scale in SCALES.items() if part in key) * z


@pytest.fixture(scope="module")
def file():
    return load("detector_c4.npz")


@pytest.fixture(scope="module")
def model(file, tmp_path_factory) -> C4RCNN:
    """The detector, loaded from a weight file in airsplay's format."""
    state = {}
    for key, sides in zip(file["keys"], file["shapes"], strict=True):
        shape = tuple(int(side) for side in str(sides).split(","))
        stored = (
            file["cell_anchors"] if "cell_anchors" in str(key) else weight(str(key), shape, int(file["seed"]))
        )
        state[str(key)] = torch.from_numpy(np.asarray(stored, np.float32))
    path: Path = tmp_path_factory.mktemp("airsplay") / "frcnn.pth"
    torch.save({"model": state}, path)
    return load_c4(path, proposals=40).eval()


@pytest.fixture(scope="module")
def outputs(file, model) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        image = torch.from_numpy(file["input/image"])
        maps = model.trunk.map(image[None])
        rpn_scores, rpn_deltas, anchors = model.rpn(maps)
        boxes, logits = model.rpn.propose(
            rpn_scores,
            rpn_deltas,
            anchors,
            size=tuple(image.shape[1:]),
            scale=1.0,
            options=model.options.proposal_options,
        )
        features = model.features(maps, [boxes])
        classes = model.class_logits(features)
        attributes = model.attribute_head(features, classes.argmax(1))
        deltas = model.box_deltas(features).reshape(len(features), -1, 4)
    return {
        "maps": maps,
        "boxes": boxes,
        "logits": logits,
        "features": features,
        "classes": classes,
        "attributes": attributes,
        "deltas": deltas,
    }


def last_to_first(array: np.ndarray) -> np.ndarray:
    """Move background and "no attribute", which are last in airsplay's format, to the front."""
    return np.roll(array, 1, 1)


def test_parity_of_the_backbone(file, outputs) -> None:
    assert list(outputs["maps"].shape) == file["output/res4_shape"].tolist()
    np.testing.assert_allclose(
        outputs["maps"].mean((0, 2, 3)), file["output/res4_mean_per_channel"], atol=1e-5
    )
    np.testing.assert_allclose(outputs["maps"][0, :4], file["output/res4_first_channels"], atol=1e-4)


def test_parity_of_proposals_and_their_order(file, outputs) -> None:
    np.testing.assert_allclose(outputs["boxes"], file["output/proposal_boxes"], atol=1e-3)
    np.testing.assert_allclose(outputs["logits"], file["output/proposal_logits"], atol=1e-5)


def test_parity_of_region_features(file, outputs) -> None:
    np.testing.assert_allclose(outputs["features"], file["output/region_features"], atol=1e-4)


def test_parity_of_class_and_attribute_logits(file, outputs) -> None:
    classes, attributes = (last_to_first(file[f"output/{k}_logits_first_10"]) for k in ("class", "attribute"))
    np.testing.assert_allclose(outputs["classes"][:10], classes, atol=1e-4)
    np.testing.assert_allclose(outputs["attributes"][:10], attributes, atol=1e-4)


def test_parity_of_box_deltas(file, outputs) -> None:
    top = outputs["classes"][:10, 1:].argmax(1) + 1
    deltas = outputs["deltas"][torch.arange(10), top]
    np.testing.assert_allclose(deltas, file["output/box_deltas_first_10_of_top_class"], atol=1e-4)
    assert outputs["deltas"].shape[1:] == (1601, 4)


def test_airsplays_conventions_are_used_with_its_weights(model) -> None:
    assert model.options.box_convention == "modern"
    assert model.options.box_weights == (10, 10, 5, 5)
    assert model.options.max_log_scale == pytest.approx(np.log(1000 / 16))
