"""Loading the paper's detector from a released weight file, in which every tensor must be accounted for."""

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
from safetensors.torch import save

from bua.detectors.c4.caffemodel import read_caffemodel
from bua.detectors.c4.model import C4RCNN
from bua.detectors.c4.release_formats import State, recognize_format
from bua.detectors.photo import Resize
from bua.detectors.weight_files import read_safetensors
from bua.errors import InputError
from bua.io.schema import parse_json
from bua.io.write import write_bytes
from bua.store.pickles import read_pickled

log = logging.getLogger(__name__)

#: Arguments of ``Resize`` that the paper's detector uses.
RESIZE: dict[str, Any] = {"min_size": 600, "max_size": 1000, "rule": "caffe"}
#: Key of the model's arguments in the metadata of bua's own weight files.
RECIPE = "c4_rcnn"
#: Names of the convolution and batch norm of each branch of a residual block in Caffe.
_BRANCHES = {"2a": ("conv1", "bn1"), "2b": ("conv2", "bn2"), "2c": ("conv3", "bn3")}
_BRANCHES |= {"1": ("downsample.0", "downsample.1")}
#: Keys of a checkpoint that are no tensors, where it does not keep the tensors in a dictionary of their own.
_OTHER_KEYS = {"iteration", "epoch", "optimizer", "scheduler", "__author__", "matching_heuristics"}
_CAFFE_LAYER = re.compile(r"(res|bn|scale)([2-5])([a-z]\d*)_branch(1|2[abc])")


def load_c4(
    path: Path,
    *,
    min_size: int | None = None,
    max_size: int | None = None,
    classes: Sequence[str] | None = None,
    attributes: Sequence[str] | None = None,
    **options: Any,
) -> C4RCNN:
    """Build the detector from a weight file of any known format, without executing anything in it.

    Args:
        path: Weight file of MILVLG, airsplay, Hugging Face, jwyang style or Caffe, or bua's own.
        min_size: Length of the shorter side of resized images. Default: that of the file, or 600.
        max_size: Maximum length of the longer side. Default: that of the file, or 1000.
        classes: Names of the classes. Default: those of the file, or numbers.
        attributes: Names of the attributes. Default: those of the file, or numbers.
        options: Fields of ``C4Options`` that override those of the release; None keeps the release's.

    Raises:
        InputError: If the file is missing, damaged, of an unknown format, or not of this detector.
    """
    if not path.is_file():
        raise InputError(f"{path}: weight file does not exist")
    try:
        state, recipe = _read_own(path) if _is_safetensors(path) else _read_released(path)
        resize = {**RESIZE, **recipe.pop("resize", {})}
        resize |= {k: v for k, v in (("min_size", min_size), ("max_size", max_size)) if v is not None}
        has_names = classes is not None or "classes" in recipe
        num_classes, num_attributes = len(state["class_logits.bias"]) - 1, _num_attributes(state)
        classes = _names("classes", classes, recipe.pop("classes", None), num_classes)
        attributes = _names("attributes", attributes, recipe.pop("attributes", None), num_attributes)
        overrides = {name: value for name, value in options.items() if value is not None}
        model = C4RCNN(
            classes=classes,
            attributes=attributes,
            resize=Resize(**resize),
            blocks=_num_blocks(state),
            **{**recipe, **overrides},
        )
        model.has_names = has_names
        _load(model, state)
    except (ValueError, KeyError, RuntimeError, TypeError, SafetensorError, OSError) as error:
        raise InputError(f"{path}: not weights of the vg_c4 detector: {_describe(error)}") from None
    return model


def save_c4(path: Path, model: C4RCNN) -> None:
    """Write a detector in bua's own format: safetensors, with names and options in the metadata."""
    names = {"classes": model.classes, "attributes": model.attributes} if model.has_names else {}
    recipe = {**names, "resize": vars(model.resize), **vars(model.options)}
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    write_bytes(path, save(state, metadata={RECIPE: json.dumps(recipe)}))


def _describe(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error).split("\n")[0]


def _is_safetensors(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def _read_own(path: Path) -> tuple[State, dict[str, Any]]:
    """Return the tensors of a safetensors file, and the arguments of the model."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    state = read_safetensors(path)
    if RECIPE in metadata:
        return state, parse_json(metadata[RECIPE], dict[str, Any], path, RECIPE)
    return _translate(state, {}, path)  # Hugging Face publishes safetensors, too


def _read_released(path: Path) -> tuple[State, dict[str, Any]]:
    """Return the tensors of a pickled file or a ``.caffemodel``, and the options of its release."""
    with open(path, "rb") as file:
        head = file.read(2)
    if head != b"PK" and head[:1] != b"\x80":
        return _translate(from_caffe(read_caffemodel(path)), {}, path)
    content = read_pickled(path)
    state = content.get("model", content.get("state_dict", content)) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise ValueError("does not hold a dictionary of tensors")
    extras = content if state is not content else {}
    tensors = {}
    for key, value in state.items():
        if isinstance(value, np.ndarray):
            tensors[_without_prefix(str(key))] = torch.from_numpy(np.array(value))
        elif key not in _OTHER_KEYS:
            raise ValueError(f"{key} is {type(value).__name__}, expected a tensor")
    return _translate(tensors, extras, path)


def _without_prefix(name: str) -> str:
    return re.sub(r"^(module\.|model\.)+", "", name)


def _translate(state: State, extras: Mapping[str, Any], path: Path) -> tuple[State, dict[str, Any]]:
    release = recognize_format(state)
    translated, options, unused = release.translate(dict(state), extras)
    unused_text = f", {len(unused)} unused ({unused[0]} ...)" if unused else ""
    log.info(f"{path}: {release.name} weights, {len(state) - len(unused)} tensors{unused_text}")
    return {name: value.float() for name, value in translated.items()}, options


def from_caffe(layers: Mapping[str, list[NDArray[np.float32]]]) -> State:
    """Name the blobs of Caffe's layers, and apply the scale factors of its batch norms.

    Args:
        layers: Blobs by the name of the layer.

    Raises:
        ValueError: If a batch norm does not have three blobs.
    """
    state: dict[str, NDArray[np.float32]] = {}
    for layer, blobs in layers.items():
        match = _CAFFE_LAYER.fullmatch(layer)
        if match:
            kind, stage, block, branch = match.groups()
            block_index = ord(block[0]) - ord("a") if len(block) == 1 else int(block[1:])
            conv, norm = _BRANCHES[branch]
            prefix = f"trunk.layer{int(stage) - 1}.{block_index}."
            prefix += conv if kind == "res" else norm
        elif layer in ("bn_conv1", "scale_conv1"):
            kind, prefix = layer.split("_")[0], "bn_conv1"
        else:
            kind, prefix = "other", layer
        if kind == "bn":
            if len(blobs) != 3:
                raise ValueError(f"batch norm {layer} has {len(blobs)} blobs, expected 3")
            factor = float(blobs[2].reshape(-1)[0])
            factor = 1 / factor if factor else 0.0
            state[f"{prefix}.running_mean"] = blobs[0].reshape(-1) * np.float32(factor)
            state[f"{prefix}.running_var"] = blobs[1].reshape(-1) * np.float32(factor)
            continue
        for part, blob in zip(("weight", "bias"), blobs, strict=False):
            is_vector = part == "bias" or kind == "scale"
            state[f"{prefix}.{part}"] = blob.reshape(-1) if is_vector else _as_weight(blob, layer)
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


def _as_weight(blob: NDArray[np.float32], layer: str) -> NDArray[np.float32]:
    """Reduce matrices to two dimensions; old versions of Caffe write them with four."""
    is_convolution = layer.startswith(("conv", "res", "rpn"))
    return blob if is_convolution else blob.reshape(blob.shape[-2:])


def _names(kind: str, given: Sequence[str] | None, stored: Sequence[str] | None, count: int) -> Sequence[str]:
    names = given if given is not None else stored
    if names is None:
        return [f"{kind} {n}" for n in range(count)]
    if len(names) != count:
        raise ValueError(f"has {count} {kind}, but {len(names)} names were given")
    return names


def _num_attributes(state: State) -> int:
    bias = state.get("attribute_head.logits.bias")
    return 0 if bias is None else len(bias) - 1


def _num_blocks(state: State) -> list[int]:
    """Return the number of blocks of each stage."""
    matches = [re.match(r"trunk\.layer(\d)\.(\d+)\.", name) for name in state]
    blocks = {(int(m[1]), int(m[2])) for m in matches if m}
    return [sum(stage == n for stage, _ in blocks) for n in (1, 2, 3, 4)]


def _load(model: C4RCNN, state: State) -> None:
    """Load every tensor, and name the first that is missing, unexpected, of another shape, or not finite."""
    expected = model.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        if name not in state:
            raise ValueError(f"{name} is missing")
        if name not in expected:
            raise ValueError(f"{name} is unexpected")
        if state[name].shape != expected[name].shape:
            shapes = f"shape {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
            raise ValueError(f"{name} has {shapes}")
        if not torch.isfinite(state[name]).all():
            raise ValueError(f"{name} has values that are not finite")
    model.load_state_dict(state)
