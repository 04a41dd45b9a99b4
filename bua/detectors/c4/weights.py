"""From a file of released weights to the detector: reading, recognising, accounting for everything."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from bua.detectors.c4.caffemodel import read_caffemodel
from bua.detectors.c4.model import C4RCNN
from bua.detectors.c4.release_formats import State, recognize_format
from bua.detectors.resize import Resize
from bua.errors import InputError
from bua.store.pickles import read_pickled

log = logging.getLogger(__name__)

#: How the paper's detector resizes photographs.
RESIZE: dict[str, Any] = {"side": 600, "longest": 1000, "rule": "caffe"}
#: Key of the recipe in the metadata of bua's own files.
RECIPE = "c4_rcnn"
_BRANCHES = {"2a": ("conv1", "bn1"), "2b": ("conv2", "bn2"), "2c": ("conv3", "bn3")}
_BRANCHES |= {"1": ("downsample.0", "downsample.1")}
#: What stands beside the tensors of a checkpoint that does not keep them apart.
_BESIDE = {"iteration", "epoch", "optimizer", "scheduler", "__author__", "matching_heuristics"}
_CAFFE_LAYER = re.compile(r"(res|bn|scale)([2-5])([a-z]\d*)_branch(1|2[abc])")


def load_c4(
    path: Path,
    *,
    side: int | None = None,
    longest: int | None = None,
    classes: Sequence[str] | None = None,
    attributes: Sequence[str] | None = None,
    **options: Any,
) -> C4RCNN:
    """Build the detector from a file of weights in any of the known forms; nothing in it is executed.

    Args:
        path: MILVLG's, airsplay's, Hugging Face's, jwyang-style or Caffe's file, or bua's own.
        side: of resized photographs; none for that in the file, or 600.
        longest: the same; none for that in the file, or 1000.
        classes: names of classes; numbers stand for them where neither this nor the file has names.
        attributes: names of attributes.
        options: of ``C4RCNN``, where they are to differ from those of the release.

    Raises:
        InputError: the file is missing, damaged, of no known form, or not of this detector.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of weights")
    recipe: dict[str, Any] = {}
    try:
        if _is_safetensors(path):
            recipe, state = _read_own(path)
        else:
            state, recipe = _translated(path)
        resize = {**RESIZE, **recipe.pop("resize", {})}
        resize |= {k: v for k, v in (("side", side), ("longest", longest)) if v is not None}
        named = classes is not None or "classes" in recipe
        names = [
            _names(path, *each)
            for each in (
                ("classes", classes, recipe.pop("classes", None), len(state["class_logits.bias"]) - 1),
                ("attributes", attributes, recipe.pop("attributes", None), _attribute_count(state)),
            )
        ]
        given = {name: value for name, value in options.items() if value is not None}
        model = C4RCNN(
            classes=names[0],
            attributes=names[1],
            resize=Resize(**resize),
            blocks=_blocks(state),
            **{**recipe, **given},
        )
        model.named = named
        _fill(model, state)
    except (ValueError, KeyError, RuntimeError, TypeError, SafetensorError, OSError) as error:
        raise InputError(f"{path}: not weights of the vg_c4 detector: {_text(error)}") from None
    return model


def save_c4(path: Path, model: C4RCNN) -> None:
    """Write a detector in bua's own form: safetensors, with names and options beside the tensors."""
    names = {"classes": model.classes, "attributes": model.attributes} if model.named else {}
    recipe = {**names, "resize": vars(model.resize), **vars(model.options)}
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, path, metadata={RECIPE: json.dumps(recipe)})


def _text(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error).split("\n")[0]


def _is_safetensors(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def _read_own(path: Path) -> tuple[dict[str, Any], State]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    state = load_file(path)
    if RECIPE in metadata:
        return json.loads(metadata[RECIPE]), state
    state, recipe = _translate(state, {}, path)  # Hugging Face's files may be of this kind, too
    return recipe, state


def _translated(path: Path) -> tuple[State, dict[str, Any]]:
    with open(path, "rb") as file:
        head = file.read(2)
    if head[:2] == b"PK" or head[:1] == b"\x80":
        content = read_pickled(path)
        state = (
            content.get("model", content.get("state_dict", content)) if isinstance(content, Mapping) else None
        )
        if not isinstance(state, Mapping):
            raise ValueError("it holds no dictionary of tensors")
        extras = content if state is not content else {}
        tensors = {}
        for key, value in state.items():
            if isinstance(value, np.ndarray):
                tensors[_bare(str(key))] = torch.from_numpy(np.array(value))
            elif key not in _BESIDE:
                raise ValueError(f"{key} is {type(value).__name__}, a tensor is needed")
        return _translate(tensors, extras, path)
    return _translate(from_caffe(read_caffemodel(path)), {}, path)


def _bare(name: str) -> str:
    return re.sub(r"^(module\.|model\.)+", "", name)


def _translate(state: State, extras: Mapping[str, Any], path: Path) -> tuple[State, dict[str, Any]]:
    dialect = recognize_format(state)
    ours, options, unused = dialect.translate(dict(state), extras)
    without = f", {len(unused)} without use ({unused[0]} ...)" if unused else ""
    log.info(f"{path}: {dialect.name} weights, {len(state) - len(unused)} tensors{without}")
    return {name: value.float() for name, value in ours.items()}, options


def from_caffe(layers: Mapping[str, list[NDArray[np.float32]]]) -> State:
    """Name the blobs of Caffe's layers, and apply the scale factors of its batch norms.

    Raises:
        ValueError: a batch norm has other than three blobs.
    """
    state: dict[str, NDArray[np.float32]] = {}
    for layer, blobs in layers.items():
        found = _CAFFE_LAYER.fullmatch(layer)
        if found:
            kind, stage, block, branch = found.groups()
            number = ord(block[0]) - ord("a") if len(block) == 1 else int(block[1:])
            conv, norm = _BRANCHES[branch]
            prefix = f"trunk.layer{int(stage) - 1}.{number}."
            prefix += conv if kind == "res" else norm
        elif layer in ("bn_conv1", "scale_conv1"):
            kind, prefix = layer.split("_")[0], "bn_conv1"
        else:
            kind, prefix = "other", layer
        if kind == "bn":
            if len(blobs) != 3:
                raise ValueError(f"batch norm {layer} has {len(blobs)} blobs, 3 are needed")
            factor = float(blobs[2].reshape(-1)[0])
            factor = 1 / factor if factor else 0.0
            state[f"{prefix}.running_mean"] = blobs[0].reshape(-1) * np.float32(factor)
            state[f"{prefix}.running_var"] = blobs[1].reshape(-1) * np.float32(factor)
            continue
        for part, blob in zip(("weight", "bias"), blobs, strict=False):
            flat = part == "bias" or kind == "scale"
            state[f"{prefix}.{part}"] = blob.reshape(-1) if flat else _without_ones(blob, layer)
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


def _without_ones(blob: NDArray[np.float32], layer: str) -> NDArray[np.float32]:
    """Give matrices two sides; files of older Caffe write them with four."""
    convolution = layer.startswith(("conv", "res", "rpn"))
    return blob if convolution else blob.reshape(blob.shape[-2:])


def _names(
    path: Path, what: str, given: Sequence[str] | None, own: Sequence[str] | None, count: int
) -> Sequence[str]:
    names = given if given is not None else own
    if names is None:
        return [f"{what} {n}" for n in range(count)]
    if len(names) != count:
        raise ValueError(f"it has {count} {what}, but {len(names)} names were given")
    return names


def _attribute_count(state: State) -> int:
    bias = state.get("attribute_head.logits.bias")
    return 0 if bias is None else len(bias) - 1


def _blocks(state: State) -> list[int]:
    found = [re.match(r"trunk\.layer(\d)\.(\d+)\.", name) for name in state]
    pairs = {(int(f[1]), int(f[2])) for f in found if f}
    return [sum(stage == n for stage, _ in pairs) for n in (1, 2, 3, 4)]


def _fill(model: C4RCNN, state: State) -> None:
    """Load every tensor, and name what is missing, left over or of another shape."""
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            raise ValueError(f"{name} is missing")
        if name not in wanted:
            raise ValueError(f"{name} has no place in the detector")
        if state[name].shape != wanted[name].shape:
            raise ValueError(f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}")
        if not torch.isfinite(state[name]).all():
            raise ValueError(f"{name} is not all finite")
    model.load_state_dict(state)
