"""Writers of the detector's weights in every released format, from one model."""

import copy
import functools
import pickle
import re
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from bua.detectors.c4.model import C4RCNN
from bua.detectors.photo import Resize

RESIZE = Resize(min_size=64, max_size=107, rule="caffe")
#: Options in which the releases differ, with the same values for all of them.
COMMON_OPTIONS = {
    "box_convention": "caffe",
    "pooling": "pool",
    "pool_size": 14,
    "dilated": True,
    "min_side": 16.0,
    "limit_sizes": False,
    "proposals": 12,
}
#: Numbers that normalized box deltas are divided by, as in ``C4Options``.
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
State = dict[str, Tensor]


def random_model(blocks=(1, 2, 1, 2), classes=5, attributes=3) -> C4RCNN:
    """Return a random detector that every format can express: without background boxes or logits."""
    return copy.deepcopy(_random_model(blocks, classes, attributes))


@functools.lru_cache(maxsize=1)
def _random_model(blocks: tuple[int, ...], classes: int, attributes: int) -> C4RCNN:
    torch.manual_seed(7)
    model = C4RCNN(
        classes=[f"c{n}" for n in range(classes)],
        attributes=[f"a{n}" for n in range(attributes)],
        resize=RESIZE,
        blocks=blocks,
        **COMMON_OPTIONS,
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


def with_prefix(state: State, prefix: str) -> State:
    """Return the tensors whose names have a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def rename_modules(state: State, names: dict[str, str]) -> State:
    """Return the tensors of some modules under other names."""
    return {f"{new}.{k}": v for old, new in names.items() for k, v in with_prefix(state, f"{old}.").items()}


def detectron_trunk(state: State) -> State:
    """Return the trunk by detectron2's names, without the counters of batch norm."""
    out = {}
    for name, value in with_prefix(state, "trunk.").items():
        name = re.sub(r"^conv1\.", "backbone.stem.conv1.", name)
        name = re.sub(r"^bn1\.", "backbone.stem.conv1.norm.", name)
        name = re.sub(r"^layer(\d)\.", lambda m: f"backbone.res{int(m[1]) + 1}.", name)
        name = re.sub(r"\.bn(\d)\.", r".conv\1.norm.", name)
        name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
        out[name.replace("backbone.res5", "roi_heads.res5")] = value
    return out


def unnormalized(state: State) -> State:
    """Return box deltas as in Caffe's snapshots, which are not divided by anything when decoded."""
    unnormalized_state = dict(state)
    for name in ("box_deltas.weight", "box_deltas.bias"):
        scale = torch.tensor(BOX_WEIGHTS).repeat(len(state[name]) // 4)
        unnormalized_state[name] = state[name] / scale.reshape(-1, *[1] * (state[name].ndim - 1))
    return unnormalized_state


def milvlg(state: State, path: Path) -> Path:
    """Write weights in MILVLG's format."""
    state = unnormalized(state)
    out = detectron_trunk(state)
    out["proposal_generator.anchor_generator.cell_anchors.0"] = state["rpn.anchors"]
    rpn, box = "proposal_generator.rpn_head", "roi_heads.box_predictor"
    names = {
        "rpn.conv": f"{rpn}.conv",
        "rpn.scores": f"{rpn}.objectness_logits",
        "rpn.deltas": f"{rpn}.anchor_deltas",
        "class_logits": f"{box}.cls_score",
        "box_deltas": f"{box}.bbox_pred",
        "attribute_head.embedding": f"{box}.cls_embed",
        "attribute_head.hidden": f"{box}.attr_linear1",
        "attribute_head.logits": f"{box}.attr_linear2",
    }
    out |= rename_modules(state, names)
    torch.save({"model": out, "iteration": 12}, path)
    return path


def airsplay_state(state: State) -> State:
    """Return weights in airsplay's format, which Hugging Face's release shares."""
    out = detectron_trunk(state)
    size_major = [r * 4 + s for s in range(4) for r in range(3)]
    generator = "proposal_generator.anchor_generator.cell_anchors.0"
    out[generator] = state["rpn.anchors"][size_major]
    for k, v in with_prefix(state, "rpn.conv.").items():
        out[f"proposal_generator.rpn_head.conv.{k}"] = v
    for k, v in with_prefix(state, "rpn.scores.").items():
        out[f"proposal_generator.rpn_head.objectness_logits.{k}"] = (v[12:] - v[:12])[size_major]
    for k, v in with_prefix(state, "rpn.deltas.").items():
        reordered = v.reshape(12, 4, *v.shape[1:])[size_major]
        out[f"proposal_generator.rpn_head.anchor_deltas.{k}"] = reordered.reshape(v.shape)
    box = "roi_heads.box_predictor."
    for k in ("weight", "bias"):
        out[f"{box}bbox_pred.{k}"] = state[f"box_deltas.{k}"][4:]
        out[f"{box}fc_attr.{k}"] = state[f"attribute_head.hidden.{k}"]
        for old, new in (("class_logits", "cls_score"), ("attribute_head.logits", "attr_score")):
            value = state[f"{old}.{k}"]
            out[f"{box}{new}.{k}"] = torch.cat([value[1:], value[:1]])
    embedding = state["attribute_head.embedding.weight"]
    out[f"{box}cls_embedding.weight"] = torch.cat([embedding[1:], embedding[:1]])
    return out


def airsplay_pickle(state: State, path: Path) -> Path:
    """Write weights as airsplay's release, a pickle of arrays."""
    arrays = {k: v.numpy() for k, v in airsplay_state(state).items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "someone"}, protocol=2))
    return path


def hugging_face(state: State, path: Path) -> Path:
    """Write weights as Hugging Face's release, a file of torch."""
    torch.save(airsplay_state(state), path)
    return path


def hugging_face_safetensors(state: State, path: Path) -> Path:
    """Write weights as Hugging Face's release, a safetensors file."""
    save_file({k: v.contiguous() for k, v in airsplay_state(state).items()}, path)
    return path


def jwyang(state: State, path: Path) -> Path:
    """Write weights in the format of jwyang's Faster R-CNN."""
    out = {}
    modules = {"conv1": "RCNN_base.0", "bn1": "RCNN_base.1", "layer1": "RCNN_base.4", "layer2": "RCNN_base.5"}
    modules |= {"layer3": "RCNN_base.6", "layer4": "RCNN_top.0"}
    for name, value in with_prefix(state, "trunk.").items():
        first, rest = name.split(".", 1)
        out[f"{modules[first]}.{rest}"] = value
        if name.endswith("running_var"):
            counter = f"{modules[first]}.{rest}".replace("running_var", "num_batches_tracked")
            out[counter] = torch.tensor(0)
    names = {
        "rpn.conv": "RCNN_rpn.RPN_Conv",
        "rpn.scores": "RCNN_rpn.RPN_cls_score",
        "rpn.deltas": "RCNN_rpn.RPN_bbox_pred",
        "class_logits": "RCNN_cls_score",
        "box_deltas": "RCNN_bbox_pred",
    }
    out |= rename_modules(state, names)
    extras = {"session": 1, "epoch": 20, "optimizer": {"state": {}, "param_groups": []}}
    torch.save({"model": out, "pooling_mode": "align", "class_agnostic": False, **extras}, path)
    return path


def varint(value: int) -> bytes:
    """Return a number as a protobuf varint."""
    out = b""
    while True:
        value, byte = value >> 7, value & 127
        if not value:
            return out + bytes([byte])
        out += bytes([byte | 128])


def message(field: int, content: bytes) -> bytes:
    """Return a protobuf field that holds bytes."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def blob(value: np.ndarray, old: bool) -> bytes:
    """Return a blob of Caffe, with its shape in the new or the old format."""
    data = message(5, value.astype("<f4").tobytes())
    if old:
        sides = (1,) * (4 - value.ndim) + value.shape
        return b"".join(varint((n + 1) << 3) + varint(s) for n, s in enumerate(sides)) + data
    return message(7, message(1, b"".join(varint(side) for side in value.shape))) + data


def layer(name: str, kind: str, blobs: list[np.ndarray], old: bool = False) -> bytes:
    """Return a layer of a Caffe network."""
    body = message(1, name.encode()) + message(2, kind.encode()) + message(3, b"bottom") + message(4, b"top")
    return message(100, body + b"".join(message(7, blob(b, old)) for b in blobs))


def caffe_name(name: str) -> str:
    """Return the name of a part in Caffe, such as 4b2_branch2a for layer3.2.conv1."""
    match = re.match(r"layer(\d)\.(\d+)\.(conv\d|bn\d|downsample\.\d)", name)
    stage, block, part = int(match[1]) + 1, int(match[2]), match[3]
    uses_letters = stage in (2, 5)
    letter = "abc"[block] if uses_letters else ("a" if block == 0 else f"b{block}")
    branch = "1" if part.startswith("downsample") else "2" + "abc"[int(part[-1]) - 1]
    return f"{stage}{letter}_branch{branch}"


def caffemodel(state: State, path: Path) -> Path:
    """Write weights as a ``.caffemodel``, as the original release."""
    state = unnormalized(state)
    trunk = {k: v.numpy() for k, v in with_prefix(state, "trunk.").items()}
    factor = np.array([999.98], np.float32)
    out = bytearray(message(1, b"VG") + layer("input-data", "Python", []))
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
    names = {
        "rpn.conv": "rpn_conv/3x3",
        "rpn.scores": "rpn_cls_score",
        "rpn.deltas": "rpn_bbox_pred",
        "class_logits": "cls_score",
        "box_deltas": "bbox_pred",
        "attribute_head.hidden": "fc_attr",
        "attribute_head.logits": "attr_score",
    }
    for old, new in names.items():
        blobs = [state[f"{old}.weight"].numpy(), state[f"{old}.bias"].numpy()]
        out += layer(new, "InnerProduct", blobs, old="rpn" not in old)
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
