"""Every form in which the detector's weights were released loads into the same function."""

import math
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.ops import roi_align

from bua.errors import InputError
from bua.regions.c4.caffemodel import read_caffemodel
from bua.regions.c4.dialects import DIALECTS
from bua.regions.c4.model import C4RCNN
from bua.regions.c4.weights import load_c4, save_c4
from bua.regions.resize import Resize

RESIZE = Resize(side=64, longest=107, rule="caffe")
#: Where the releases differ on purpose, the same is asked of all of them.
SAME = {
    "box_convention": "caffe",
    "pooling": "pool",
    "pool_size": 14,
    "dilated": True,
    "min_side": 16.0,
    "limit_sizes": False,
    "proposals": 12,
}
SIZES = (10.0, 10.0, 5.0, 5.0)
State = dict[str, Tensor]


def random_model(blocks=(1, 2, 1, 2), classes=5, attributes=3) -> C4RCNN:
    """A detector at random that every release can express: no background boxes or background logits."""
    torch.manual_seed(7)
    model = C4RCNN(
        classes=[f"c{n}" for n in range(classes)],
        attributes=[f"a{n}" for n in range(attributes)],
        resize=RESIZE,
        blocks=blocks,
        **SAME,
    ).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand_like(value) + 0.5)
            elif ".bn" in name or "downsample.1" in name:
                value.add_(torch.randn_like(value) * 0.1)
            elif name.endswith("bias"):
                value.copy_(torch.randn_like(value) * 0.01)
        model.trunk.conv1.weight.mul_(0.02)
        for part in (model.rpn.scores.weight, model.rpn.scores.bias):
            part[:12] = 0
        for part in (model.box_deltas.weight, model.box_deltas.bias):
            part[:4] = 0
    return model


def parts(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def detectron_trunk(state: State) -> State:
    """The trunk by detectron2's names, without counters of batch norm."""
    out = {}
    for name, value in parts(state, "trunk.").items():
        name = re.sub(r"^conv1\.", "backbone.stem.conv1.", name)
        name = re.sub(r"^bn1\.", "backbone.stem.conv1.norm.", name)
        name = re.sub(r"^layer(\d)\.", lambda m: f"backbone.res{int(m[1]) + 1}.", name)
        name = re.sub(r"\.bn(\d)\.", r".conv\1.norm.", name)
        name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
        out[name.replace("backbone.res5", "roi_heads.res5")] = value
    return out


def unnormalised(state: State) -> State:
    """Box deltas as Caffe's snapshots hold them: not divided by anything at decoding."""
    divided = dict(state)
    for name in ("box_deltas.weight", "box_deltas.bias"):
        scale = torch.tensor(SIZES).repeat(len(state[name]) // 4)
        divided[name] = state[name] / scale.reshape(-1, *[1] * (state[name].ndim - 1))
    return divided


def milvlg(state: State, path: Path) -> Path:
    state = unnormalised(state)
    out = detectron_trunk(state)
    out["proposal_generator.anchor_generator.cell_anchors.0"] = state["rpn.anchors"]
    names = {
        "conv": "rpn_head.conv",
        "scores": "rpn_head.objectness_logits",
        "deltas": "rpn_head.anchor_deltas",
    }
    for ours, theirs in names.items():
        out |= {f"proposal_generator.{theirs}.{k}": v for k, v in parts(state, f"rpn.{ours}.").items()}
    heads = {
        "class_logits": "cls_score",
        "box_deltas": "bbox_pred",
        "attribute_head.embedding": "cls_embed",
        "attribute_head.hidden": "attr_linear1",
        "attribute_head.logits": "attr_linear2",
    }
    for ours, theirs in heads.items():
        out |= {f"roi_heads.box_predictor.{theirs}.{k}": v for k, v in parts(state, f"{ours}.").items()}
    torch.save({"model": out, "iteration": 12}, path)
    return path


def airsplay_state(state: State) -> State:
    out = detectron_trunk(state)
    size_major = [r * 4 + s for s in range(4) for r in range(3)]
    generator = "proposal_generator.anchor_generator.cell_anchors.0"
    out[generator] = state["rpn.anchors"][size_major]
    for k, v in parts(state, "rpn.conv.").items():
        out[f"proposal_generator.rpn_head.conv.{k}"] = v
    for k, v in parts(state, "rpn.scores.").items():
        out[f"proposal_generator.rpn_head.objectness_logits.{k}"] = (v[12:] - v[:12])[size_major]
    for k, v in parts(state, "rpn.deltas.").items():
        cut = v.reshape(12, 4, *v.shape[1:])[size_major]
        out[f"proposal_generator.rpn_head.anchor_deltas.{k}"] = cut.reshape(v.shape)
    box = "roi_heads.box_predictor."
    for k in ("weight", "bias"):
        out[f"{box}bbox_pred.{k}"] = state[f"box_deltas.{k}"][4:]
        out[f"{box}fc_attr.{k}"] = state[f"attribute_head.hidden.{k}"]
        for ours, theirs in (("class_logits", "cls_score"), ("attribute_head.logits", "attr_score")):
            value = state[f"{ours}.{k}"]
            out[f"{box}{theirs}.{k}"] = torch.cat([value[1:], value[:1]])
    embedding = state["attribute_head.embedding.weight"]
    out[f"{box}cls_embedding.weight"] = torch.cat([embedding[1:], embedding[:1]])
    return out


def airsplay_pickle(state: State, path: Path) -> Path:
    arrays = {k: v.numpy() for k, v in airsplay_state(state).items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "someone"}, protocol=2))
    return path


def hugging_face(state: State, path: Path) -> Path:
    torch.save(airsplay_state(state), path)
    return path


def hugging_face_safetensors(state: State, path: Path) -> Path:
    save_file({k: v.contiguous() for k, v in airsplay_state(state).items()}, path)
    return path


def jwyang(state: State, path: Path) -> Path:
    out = {}
    places = {"conv1": "RCNN_base.0", "bn1": "RCNN_base.1", "layer1": "RCNN_base.4", "layer2": "RCNN_base.5"}
    places |= {"layer3": "RCNN_base.6", "layer4": "RCNN_top.0"}
    for name, value in parts(state, "trunk.").items():
        first, rest = name.split(".", 1)
        out[f"{places[first]}.{rest}"] = value
        if name.endswith("running_var"):
            counter = f"{places[first]}.{rest}".replace("running_var", "num_batches_tracked")
            out[counter] = torch.tensor(0)
    for ours, theirs in (("conv", "RPN_Conv"), ("scores", "RPN_cls_score"), ("deltas", "RPN_bbox_pred")):
        out |= {f"RCNN_rpn.{theirs}.{k}": v for k, v in parts(state, f"rpn.{ours}.").items()}
    for ours, theirs in (("class_logits", "RCNN_cls_score"), ("box_deltas", "RCNN_bbox_pred")):
        out |= {f"{theirs}.{k}": v for k, v in parts(state, f"{ours}.").items()}
    more = {"session": 1, "epoch": 20, "optimizer": {"state": {}, "param_groups": []}}
    torch.save({"model": out, "pooling_mode": "align", "class_agnostic": False, **more}, path)
    return path


def varint(value: int) -> bytes:
    out = b""
    while True:
        value, byte = value >> 7, value & 127
        if not value:
            return out + bytes([byte])
        out += bytes([byte | 128])


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def blob(value: np.ndarray, old: bool) -> bytes:
    data = message(5, value.astype("<f4").tobytes())
    if old:
        sides = (1,) * (4 - value.ndim) + value.shape
        return b"".join(varint((n + 1) << 3) + varint(s) for n, s in enumerate(sides)) + data
    return message(7, message(1, b"".join(varint(side) for side in value.shape))) + data


def layer(name: str, kind: str, blobs: list[np.ndarray], old: bool = False) -> bytes:
    body = message(1, name.encode()) + message(2, kind.encode()) + message(3, b"bottom") + message(4, b"top")
    return message(100, body + b"".join(message(7, blob(b, old)) for b in blobs))


def caffe_name(name: str) -> str:
    """res4b2_branch2a for layer3.2.conv1, without the res."""
    found = re.match(r"layer(\d)\.(\d+)\.(conv\d|bn\d|downsample\.\d)", name)
    stage, block, part = int(found[1]) + 1, int(found[2]), found[3]
    lettered = stage in (2, 5)
    letter = "abc"[block] if lettered else ("a" if block == 0 else f"b{block}")
    branch = "1" if part.startswith("downsample") else "2" + "abc"[int(part[-1]) - 1]
    return f"{stage}{letter}_branch{branch}"


def caffemodel(state: State, path: Path) -> Path:
    state = unnormalised(state)
    trunk = {k: v.numpy() for k, v in parts(state, "trunk.").items()}
    factor = np.array([999.98], np.float32)
    out = message(1, b"VG") + layer("input-data", "Python", [])
    for name, value in trunk.items():
        if value.ndim == 4:
            title = "conv1" if name == "conv1.weight" else f"res{caffe_name(name)}"
            out += layer(title, "Convolution", [value])
        if name.endswith("running_mean"):
            stem = name.removesuffix("running_mean")
            title = "{}_conv1" if stem == "bn1." else "{}" + caffe_name(name)
            statistics = [trunk[f"{stem}{k}"] * factor for k in ("running_mean", "running_var")]
            out += layer(title.format("bn"), "BatchNorm", [*statistics, factor])
            out += layer(title.format("scale"), "Scale", [trunk[f"{stem}weight"], trunk[f"{stem}bias"]])
    rest = {
        "rpn.conv": "rpn_conv/3x3",
        "rpn.scores": "rpn_cls_score",
        "rpn.deltas": "rpn_bbox_pred",
        "class_logits": "cls_score",
        "box_deltas": "bbox_pred",
        "attribute_head.hidden": "fc_attr",
        "attribute_head.logits": "attr_score",
    }
    for ours, theirs in rest.items():
        blobs = [state[f"{ours}.weight"].numpy(), state[f"{ours}.bias"].numpy()]
        out += layer(theirs, "InnerProduct", blobs, old="rpn" not in ours)
    out += layer("cls_embedding", "Embed", [state["attribute_head.embedding.weight"].numpy()])
    path.write_bytes(out)
    return path


WRITERS = {
    "MILVLG": (milvlg, "bua-caffe-frcn-r101-k10-100.pth"),
    "airsplay": (airsplay_pickle, "faster_rcnn_from_caffe_attr.pkl"),
    "Hugging Face": (hugging_face, "pytorch_model.bin"),
    "Hugging Face safetensors": (hugging_face_safetensors, "model.safetensors"),
    "jwyang": (jwyang, "faster_rcnn_res101_vg.pth"),
    "Caffe": (caffemodel, "resnet101_faster_rcnn_final.caffemodel"),
}


def outputs(model: C4RCNN) -> dict[str, Tensor]:
    pixels = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (1, 3, 96, 128))).float()
    frame = RESIZE.frame(96, 128)
    boxes = torch.tensor([[10.0, 10, 60, 50], [0, 0, 127, 95], [30, 5, 120, 90]])
    with torch.inference_mode():
        scores, deltas, anchors = model.rpn(model.map(pixels))
        found = model.propose(pixels, [frame], [boxes])[0]
        index = torch.arange(3)
        each = {
            "rpn": (scores[:, 1] - scores[:, 0]).sort().values,
            "anchors": anchors.sum(1).sort().values,
            "proposals": model.propose(pixels, [frame], [None])[0].boxes,
            "features": found.features,
            "probabilities": found.probabilities,
            "boxes": found.regressed(index, torch.tensor([1, 3, 5])),
        }
        return each | ({"attributes": found.attributes} if found.attributes is not None else {})


@pytest.fixture(scope="module")
def model() -> C4RCNN:
    return random_model()


def test_every_dialect_has_a_writer_here() -> None:
    assert {d.name.split()[0] for d in DIALECTS} == {"Caffe", "MILVLG", "airsplay", "jwyang"}
    assert len(WRITERS) == 6


@pytest.mark.parametrize("name", WRITERS)
def test_every_release_loads_into_the_same_function(name: str, model, tmp_path) -> None:
    write, file = WRITERS[name]
    path = write(model.state_dict(), tmp_path / file)
    loaded = load_c4(path, side=64, longest=107, **SAME).eval()
    expected, found = outputs(model), outputs(loaded)
    if name == "jwyang":  # objects only
        assert loaded.attribute_head is None
        del expected["attributes"]
    assert found.keys() == expected.keys()
    for what in expected:
        torch.testing.assert_close(found[what], expected[what], atol=2e-3, rtol=1e-3, msg=what)


def test_jwyangs_own_network_averages_regions_to_7_by_7_and_halves_them(model, tmp_path) -> None:
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


def test_one_box_for_all_classes_is_repeated_for_each(model, tmp_path) -> None:
    path = jwyang(model.state_dict(), tmp_path / "w.pth")
    content = torch.load(path)
    for part in ("weight", "bias"):
        content["model"][f"RCNN_bbox_pred.{part}"] = content["model"][f"RCNN_bbox_pred.{part}"][4:8].clone()
    torch.save(content, path)
    loaded = load_c4(path)
    four = content["model"]["RCNN_bbox_pred.weight"]
    assert torch.equal(loaded.box_deltas.weight, four.repeat(6, 1))


def test_own_form_keeps_names_and_options(model, tmp_path) -> None:
    save_c4(tmp_path / "own.safetensors", model)
    loaded = load_c4(tmp_path / "own.safetensors").eval()
    assert (loaded.classes, loaded.attributes, loaded.options) == (
        model.classes,
        model.attributes,
        model.options,
    )
    for what, value in outputs(model).items():
        assert torch.equal(outputs(loaded)[what], value)


def test_the_resizing_of_a_detector_stays_with_its_weights(model, tmp_path) -> None:
    save_c4(tmp_path / "own.safetensors", model)
    assert load_c4(tmp_path / "own.safetensors").resize == RESIZE
    assert load_c4(tmp_path / "own.safetensors", side=50).resize.side == 50
    path = hugging_face(model.state_dict(), tmp_path / "w.pth")
    assert load_c4(path).resize == Resize(side=600, longest=1000, rule="caffe")


def test_the_forms_are_told_apart_without_attributes_too(model, tmp_path) -> None:
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


def test_a_detector_of_torchvision_is_called_by_its_name(tmp_path) -> None:
    torch.save({"rpn.head.cls_logits.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="weights of a detector of torchvision; detector=fpn_r50"):
        load_c4(tmp_path / "w.pth")


def test_each_release_brings_its_own_conventions(model, tmp_path) -> None:
    def options(name: str):
        write, file = WRITERS[name]
        return load_c4(write(model.state_dict(), tmp_path / file), side=64, longest=107).options

    caffe, airsplay, jwyang_style = options("Caffe"), options("airsplay"), options("jwyang")
    assert (caffe.box_convention, caffe.box_weights, caffe.min_side) == ("caffe", (1, 1, 1, 1), 16)
    assert caffe == options("MILVLG")
    assert (airsplay.box_convention, airsplay.box_weights, airsplay.min_side) == ("modern", SIZES, 0)
    assert airsplay == options("Hugging Face")
    assert (jwyang_style.pooling, jwyang_style.pool_size, jwyang_style.dilated) == ("align", 7, False)


@pytest.mark.slow
def test_files_of_the_true_names_and_shapes_load(tmp_path) -> None:
    """ResNet-101, 1600 classes, 400 attributes, in the four forms that people have."""
    model = random_model((3, 4, 23, 3), 1600, 400)
    state = model.state_dict()
    assert state["box_deltas.weight"].shape == (6404, 2048)
    expected = outputs(model)["features"]
    for name in ("MILVLG", "airsplay", "jwyang", "Caffe"):
        write, file = WRITERS[name]
        path = write(state, tmp_path / file)
        assert path.stat().st_size > 200e6
        loaded = load_c4(path, side=64, longest=107, **SAME).eval()
        gap = (outputs(loaded)["features"] - expected).abs().max()
        assert float(gap) < 1e-3 * float(expected.abs().max())
        path.unlink()


def broken(state: State, how: str) -> State:
    state = dict(state)
    first = "roi_heads.box_predictor.cls_score.weight"
    if how == "missing":
        del state["backbone.res3.0.conv2.norm.bias"]
    elif how == "unknown":
        state["roi_heads.mask_head.weight"] = torch.zeros(3)
    elif how == "shape":
        state[first] = state[first][:, :7]
    elif how == "text":
        state["roi_heads.extra"] = "hello"
    elif how == "twice":
        state["backbone.res5.0.conv1.weight"] = state["roi_heads.res5.0.conv1.weight"] * 0
    elif how == "nan":
        state[first] = state[first] * math.nan
    elif how == "resnet152":
        state["backbone.stem.norm.weight"] = torch.zeros(3)
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"trunk.layer2.0.bn2.bias is missing"),
        ("unknown", r"1 tensors of airsplay .* have no place, the first is roi_heads.mask_head.weight"),
        ("shape", r"class_logits.weight is \(6, 7\), not \(6, 2048\)"),
        ("text", "roi_heads.extra is str, a tensor is needed"),
        ("twice", "conv1.weight is there twice, under two names"),
        ("nan", r"class_logits.weight is not all finite"),
        ("resnet152", r"pre-activation ResNet-152"),
    ],
)
def test_a_parameter_out_of_place_is_named(how, message, model, tmp_path) -> None:
    path = tmp_path / "w.pth"
    torch.save(broken(airsplay_state(model.state_dict()), how), path)
    with pytest.raises(InputError, match=f"w.pth: .*{message}"):
        load_c4(path, side=64, longest=107)


@pytest.mark.parametrize(
    "content", [b"", b"hello world, this is no file of weights", b"\x80\x04broken", b"PK\x03\x04"]
)
def test_other_files_are_named_in_one_line(content, tmp_path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pth: ") as caught:
        load_c4(path, side=64, longest=107)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_wrong_counts_of_names_are_named(model, tmp_path) -> None:
    with pytest.raises(InputError, match="there is no such file of weights"):
        load_c4(tmp_path / "no.pth", side=64, longest=107)
    path = hugging_face(model.state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match="5 classes, but 2 names were given"):
        load_c4(path, side=64, longest=107, classes=["a", "b"])


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_nothing_in_a_file_is_run(tmp_path, capsys) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": {"x": Evil()}}))
    with pytest.raises(InputError, match=r"w\.pkl"):
        load_c4(tmp_path / "w.pkl", side=64, longest=107)
    assert "run" not in capsys.readouterr().out.split()


@pytest.mark.parametrize("cut", [1, 100, 5000, -1, -4000])
def test_a_caffemodel_cut_short_is_refused(cut, model, tmp_path) -> None:
    path = caffemodel(model.state_dict(), tmp_path / "w.caffemodel")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"w\.caffemodel"):
        load_c4(path, side=64, longest=107)


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
