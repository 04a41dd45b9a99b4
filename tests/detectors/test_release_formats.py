"""Weights in every released format load into the same function."""

import math
import pickle
import struct

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from bua.detectors.c4.caffemodel import read_caffemodel
from bua.detectors.c4.model import C4RCNN
from bua.detectors.c4.release_formats import RELEASE_FORMATS
from bua.detectors.c4.weights import load_c4, save_c4
from bua.detectors.photo import Resize
from bua.errors import InputError
from tests.helpers.detector_releases import (
    BOX_WEIGHTS,
    COMMON_OPTIONS,
    RESIZE,
    WRITERS,
    State,
    airsplay_state,
    blob,
    caffemodel,
    hugging_face,
    jwyang,
    layer,
    message,
    milvlg,
    random_model,
    varint,
)


def outputs(model: C4RCNN) -> dict[str, Tensor]:
    pixels = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (1, 3, 96, 128))).float()
    geometry = RESIZE.geometry(96, 128)
    boxes = torch.tensor([[10.0, 10, 60, 50], [0, 0, 127, 95], [30, 5, 120, 90]])
    with torch.inference_mode():
        scores, deltas, anchors = model.rpn(model.map(pixels))
        found = model.propose(pixels, [geometry], [boxes])[0]
        index = torch.arange(3)
        result = {
            "rpn": (scores[:, 1] - scores[:, 0]).sort().values,
            "anchors": anchors.sum(1).sort().values,
            "proposals": model.propose(pixels, [geometry], [None])[0].boxes,
            "features": found.features,
            "probabilities": found.probabilities,
            "boxes": found.decode_boxes(index, torch.tensor([1, 3, 5])),
        }
        return result | ({"attributes": found.attributes} if found.attributes is not None else {})


@pytest.fixture(scope="module")
def model() -> C4RCNN:
    return random_model()


def test_every_release_format_has_a_writer() -> None:
    assert {release.name.split()[0] for release in RELEASE_FORMATS} == {
        "Caffe",
        "MILVLG",
        "airsplay",
        "jwyang",
    }
    assert len(WRITERS) == 6


@pytest.mark.parametrize("name", WRITERS)
def test_every_release_loads_into_the_same_function(name: str, model, tmp_path) -> None:
    write, file = WRITERS[name]
    path = write(model.state_dict(), tmp_path / file)
    loaded = load_c4(path, min_size=64, max_size=107, **COMMON_OPTIONS).eval()
    expected, found = outputs(model), outputs(loaded)
    if name == "jwyang":  # has no attributes
        assert loaded.attribute_head is None
        del expected["attributes"]
    assert found.keys() == expected.keys()
    for what in expected:
        torch.testing.assert_close(found[what], expected[what], atol=2e-3, rtol=1e-3, msg=what)


def test_jwyangs_network_pools_regions_to_7_by_7_and_halves_them(model, tmp_path) -> None:
    loaded = load_c4(jwyang(model.state_dict(), tmp_path / "w.pth")).eval()
    maps, box = torch.rand(1, 1024, 9, 12), torch.tensor([[10.0, 20, 150, 120]])
    with torch.no_grad():
        pooled = roi_align(maps, [box], 7, 1 / 16, sampling_ratio=-1, aligned=False)
        block = loaded.trunk.layer4[0]
        first = block.bn1(torch.nn.functional.conv2d(pooled, block.conv1.weight, stride=2)).relu()
        assert first.shape[2:] == (4, 4)
        expected = loaded.trunk.layer4(pooled).mean((2, 3))
        torch.testing.assert_close(loaded.features(maps, [box]), expected)
        torch.testing.assert_close(block.relu(block.bn1(block.conv1(pooled))), first)


def test_class_agnostic_box_deltas_are_repeated_for_every_class(model, tmp_path) -> None:
    path = jwyang(model.state_dict(), tmp_path / "w.pth")
    content = torch.load(path)
    for part in ("weight", "bias"):
        content["model"][f"RCNN_bbox_pred.{part}"] = content["model"][f"RCNN_bbox_pred.{part}"][4:8].clone()
    torch.save(content, path)
    loaded = load_c4(path)
    four = content["model"]["RCNN_bbox_pred.weight"]
    assert torch.equal(loaded.box_deltas.weight, four.repeat(6, 1))


def test_buas_own_format_keeps_names_and_options(model, tmp_path) -> None:
    save_c4(tmp_path / "own.safetensors", model)
    loaded = load_c4(tmp_path / "own.safetensors").eval()
    assert (loaded.classes, loaded.attributes, loaded.options) == (
        model.classes,
        model.attributes,
        model.options,
    )
    for what, value in outputs(model).items():
        assert torch.equal(outputs(loaded)[what], value)


def test_the_resizing_of_a_detector_is_saved_with_its_weights(model, tmp_path) -> None:
    save_c4(tmp_path / "own.safetensors", model)
    assert load_c4(tmp_path / "own.safetensors").resize == RESIZE
    assert load_c4(tmp_path / "own.safetensors", min_size=50).resize.min_size == 50
    path = hugging_face(model.state_dict(), tmp_path / "w.pth")
    assert load_c4(path).resize == Resize(min_size=600, max_size=1000, rule="caffe")


def test_formats_are_recognized_without_attributes_too(model, tmp_path) -> None:
    for write, name in ((milvlg, "MILVLG"), (hugging_face, "airsplay")):
        path = write(model.state_dict(), tmp_path / f"{name}.pth")
        content = torch.load(path)
        state = content.get("model", content)
        for key in [k for k in state if "attr" in k or "cls_embed" in k]:
            del state[key]
        torch.save(state, path)
        loaded = load_c4(path)
        assert loaded.attribute_head is None
        assert loaded.options.box_convention == ("caffe" if name == "MILVLG" else "modern")


def test_weights_of_a_torchvision_detector_are_recognized(tmp_path) -> None:
    torch.save({"rpn.head.cls_logits.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="weights of a torchvision detector; use detector=fpn_r50"):
        load_c4(tmp_path / "w.pth")


def test_each_release_has_its_own_conventions(model, tmp_path) -> None:
    def options(name: str):
        write, file = WRITERS[name]
        return load_c4(write(model.state_dict(), tmp_path / file), min_size=64, max_size=107).options

    caffe, airsplay, jwyang_style = options("Caffe"), options("airsplay"), options("jwyang")
    assert (caffe.box_convention, caffe.box_weights, caffe.min_side) == ("caffe", (1, 1, 1, 1), 16)
    assert caffe == options("MILVLG")
    assert (airsplay.box_convention, airsplay.box_weights, airsplay.min_side) == (
        "modern",
        BOX_WEIGHTS,
        0,
    )
    assert airsplay == options("Hugging Face")
    assert (jwyang_style.pooling, jwyang_style.pool_size, jwyang_style.dilated) == ("align", 7, False)


@pytest.mark.slow
def test_files_of_the_original_names_and_shapes_can_be_loaded(tmp_path) -> None:
    """ResNet-101, 1600 classes and 400 attributes, in the four formats in use."""
    model = random_model((3, 4, 23, 3), 1600, 400)
    state = model.state_dict()
    assert state["box_deltas.weight"].shape == (6404, 2048)
    expected = outputs(model)["features"]
    for name in ("MILVLG", "airsplay", "jwyang", "Caffe"):
        write, file = WRITERS[name]
        path = write(state, tmp_path / file)
        assert path.stat().st_size > 200e6
        loaded = load_c4(path, min_size=64, max_size=107, **COMMON_OPTIONS).eval()
        difference = (outputs(loaded)["features"] - expected).abs().max()
        assert float(difference) < 1e-3 * float(expected.abs().max())
        path.unlink()


def damaged(state: State, damage: str) -> State:
    state = dict(state)
    first = "roi_heads.box_predictor.cls_score.weight"
    if damage == "missing":
        del state["backbone.res3.0.conv2.norm.bias"]
    elif damage == "unknown":
        state["roi_heads.mask_head.weight"] = torch.zeros(3)
    elif damage == "shape":
        state[first] = state[first][:, :7]
    elif damage == "string":
        state["roi_heads.extra"] = "hello"
    elif damage == "duplicate":
        state["backbone.res5.0.conv1.weight"] = state["roi_heads.res5.0.conv1.weight"] * 0
    elif damage == "nan":
        state[first] = state[first] * math.nan
    elif damage == "resnet152":
        state["backbone.stem.norm.weight"] = torch.zeros(3)
    return state


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", r"trunk.layer2.0.bn2.bias is missing"),
        ("unknown", r"1 keys are unknown in airsplay .* the first is roi_heads.mask_head.weight"),
        ("shape", r"class_logits.weight has shape \(6, 7\), expected \(6, 2048\)"),
        ("string", "roi_heads.extra is str, expected a tensor"),
        ("duplicate", "conv1.weight is duplicated under another name"),
        ("nan", r"class_logits.weight has values that are not finite"),
        ("resnet152", r"pre-activation ResNet-152"),
    ],
)
def test_invalid_tensors_are_named(damage, message, model, tmp_path) -> None:
    path = tmp_path / "w.pth"
    torch.save(damaged(airsplay_state(model.state_dict()), damage), path)
    with pytest.raises(InputError, match=f"w.pth: .*{message}"):
        load_c4(path, min_size=64, max_size=107)


@pytest.mark.parametrize(
    "content", [b"", b"hello world, this is not a weight file", b"\x80\x04broken", b"PK\x03\x04"]
)
def test_other_files_are_reported_in_one_line(content, tmp_path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pth: ") as caught:
        load_c4(path, min_size=64, max_size=107)
    assert "\n" not in str(caught.value)


def test_missing_files_and_wrong_numbers_of_names_are_reported(model, tmp_path) -> None:
    with pytest.raises(InputError, match="weight file does not exist"):
        load_c4(tmp_path / "no.pth", min_size=64, max_size=107)
    path = hugging_face(model.state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match="5 classes, but 2 names were given"):
        load_c4(path, min_size=64, max_size=107, classes=["a", "b"])


class Malicious:
    def __reduce__(self):
        return (print, ("run",))


def test_nothing_in_a_file_is_executed(tmp_path, capsys) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": {"x": Malicious()}}))
    with pytest.raises(InputError, match=r"w\.pkl"):
        load_c4(tmp_path / "w.pkl", min_size=64, max_size=107)
    assert "run" not in capsys.readouterr().out.split()


@pytest.mark.parametrize("length", [1, 100, 5000, -1, -4000])
def test_a_truncated_caffemodel_is_rejected(length, model, tmp_path) -> None:
    path = caffemodel(model.state_dict(), tmp_path / "w.caffemodel")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"w\.caffemodel"):
        load_c4(path, min_size=64, max_size=107)


def test_blobs_of_old_and_new_caffe_and_of_double_precision_are_read(tmp_path) -> None:
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    double = (
        message(7, message(1, varint(2) + varint(3)))
        + message(9, b"")
        + message(8, value.astype("<f8").tobytes())
    )
    old_layer = message(4, b"old") + message(6, blob(value, True))
    content = layer("new", "InnerProduct", [value]) + message(2, old_layer)
    content += message(100, message(1, b"double") + message(7, double))
    content += varint(1 << 3 | 5) + struct.pack("<f", 1.0)
    (tmp_path / "w.caffemodel").write_bytes(content)
    layers = read_caffemodel(tmp_path / "w.caffemodel")
    assert {name: blobs[0].reshape(2, 3).tolist() for name, blobs in layers.items()} == dict.fromkeys(
        ("new", "old", "double"), value.tolist()
    )
