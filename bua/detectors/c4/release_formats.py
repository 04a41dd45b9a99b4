"""The formats in which weights of this detector were released, and their translation to bua's.

A format is recognized by its keys. Its tensors are renamed, background and "no attribute" are moved to the
front, anchors are put into bua's order, and whatever its network does differently is returned as options of
``C4RCNN``. The source is the published code of each release.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bua.detectors.c4.rpn import RATIOS, SCALES, base_anchors

State = dict[str, Tensor]

#: Keys that are not used: counters of batch norm, and buffers that repeat the configuration.
_IGNORED = re.compile(r"num_batches_tracked$|^pixel_(mean|std)$")


@dataclass(frozen=True)
class ReleaseFormat:
    """One format of released weights.

    Attributes:
        name: Name that users know it by.
        matches: Function that returns whether a state dict has this format.
        names: Patterns of its keys, with the names in bua; the first pattern that matches is taken.
        reorder: Function that puts renamed tensors into bua's order and returns them with the options.
            It is given the tensors, and whatever else the file holds.
    """

    name: str
    matches: Callable[[Mapping[str, Any]], bool]
    names: tuple[tuple[str, str], ...]
    reorder: Callable[[State, Mapping[str, Any]], tuple[State, dict[str, Any]]]

    def translate(self, state: State, extras: Mapping[str, Any]) -> tuple[State, dict[str, Any], list[str]]:
        """Translate a state dict of this format.

        Args:
            state: Tensors by their names in the file.
            extras: Whatever else the file holds.

        Returns:
            The tensors by their names in bua, the options of the model, and the keys that are not used.

        Raises:
            ValueError: If a key is unknown, or a tensor is duplicated.
        """
        translated: State = {}
        unused: list[str] = []
        unknown: list[str] = []
        for key, value in state.items():
            name = self._name(key)
            if name in translated:
                raise ValueError(f"{key} is duplicated under another name")
            if name is not None:
                translated[name] = value
            else:
                (unused if _IGNORED.search(key) else unknown).append(key)
        if unknown:
            raise ValueError(
                f"{len(unknown)} keys are unknown in {self.name} weights, the first is {unknown[0]}"
            )
        translated, options = self.reorder(translated, extras)
        return translated, options, unused

    def _name(self, key: str) -> str | None:
        """Return the name of a tensor in bua, or None if no pattern matches its key."""
        for pattern, name in self.names:
            match = re.fullmatch(pattern, key)
            if match:
                parts = match.groupdict()
                if "s" in parts:  # detectron2 counts stages from 2, torchvision from 1
                    parts["s"] = str(int(parts["s"]) - 1)
                return name.format(**parts)
        return None


#: Names of detectron2, which two of the releases use.
_DETECTRON = (
    (r"backbone\.stem\.conv1\.weight", "trunk.conv1.weight"),
    (r"backbone\.stem\.conv1\.norm\.(?P<p>weight|bias|running_mean|running_var)", "trunk.bn1.{p}"),
    (
        r"(backbone|roi_heads)\.res(?P<s>[2-5])\.(?P<block>\d+)\.conv(?P<n>[123])\.weight",
        "trunk.layer{s}.{block}.conv{n}.weight",
    ),
    (
        r"(backbone|roi_heads)\.res(?P<s>[2-5])\.(?P<block>\d+)\.conv(?P<n>[123])"
        r"\.norm\.(?P<p>weight|bias|running_mean|running_var)",
        "trunk.layer{s}.{block}.bn{n}.{p}",
    ),
    (
        r"(backbone|roi_heads)\.res(?P<s>[2-5])\.(?P<block>\d+)\.shortcut\.weight",
        "trunk.layer{s}.{block}.downsample.0.weight",
    ),
    (
        r"(backbone|roi_heads)\.res(?P<s>[2-5])\.(?P<block>\d+)\.shortcut"
        r"\.norm\.(?P<p>weight|bias|running_mean|running_var)",
        "trunk.layer{s}.{block}.downsample.1.{p}",
    ),
    (r"proposal_generator\.rpn_head\.conv\.(?P<p>weight|bias)", "rpn.conv.{p}"),
    (r"proposal_generator\.rpn_head\.objectness_logits\.(?P<p>weight|bias)", "rpn.scores.{p}"),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.(?P<p>weight|bias)", "rpn.deltas.{p}"),
    (r"proposal_generator\.anchor_generator\.cell_anchors\.0", "rpn.anchors"),
    (r"roi_heads\.box_predictor\.cls_score\.(?P<p>weight|bias)", "class_logits.{p}"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(?P<p>weight|bias)", "box_deltas.{p}"),
)


def _caffe_order(state: State, extras: Mapping[str, Any]) -> tuple[State, dict[str, Any]]:
    """Order of MILVLG and the original, which is Caffe's; the released deltas are not normalized."""
    return {"rpn.anchors": base_anchors(), **state}, {"box_weights": (1.0, 1.0, 1.0, 1.0)}


def _airsplay_order(state: State, extras: Mapping[str, Any]) -> tuple[State, dict[str, Any]]:
    """One logit per anchor, anchors size-major, background and "no attribute" last, modern boxes."""
    order = torch.tensor([s * len(RATIOS) + r for r in range(len(RATIOS)) for s in range(len(SCALES))])
    for part in ("weight", "bias"):
        logits = state[f"rpn.scores.{part}"][order]
        state[f"rpn.scores.{part}"] = torch.cat([torch.zeros_like(logits), logits])
        deltas = state[f"rpn.deltas.{part}"]
        state[f"rpn.deltas.{part}"] = deltas.reshape(len(order), 4, *deltas.shape[1:])[order].flatten(0, 1)
        boxes = state[f"box_deltas.{part}"]
        state[f"box_deltas.{part}"] = torch.cat([boxes.new_zeros(4, *boxes.shape[1:]), boxes])
    state["rpn.anchors"] = state["rpn.anchors"][order]
    rolled = ["class_logits.weight", "class_logits.bias"]
    rolled += [
        "attribute_head.embedding.weight",
        "attribute_head.logits.weight",
        "attribute_head.logits.bias",
    ]
    for name in rolled:
        if name in state:
            state[name] = state[name].roll(1, 0)
    return state, {"box_convention": "modern", "min_side": 0.0, "limit_sizes": True}


def _jwyang_order(state: State, extras: Mapping[str, Any]) -> tuple[State, dict[str, Any]]:
    """No attributes, regions pooled to 7 x 7, last stage with its stride; Caffe's order."""
    if len(state["box_deltas.weight"]) == 4:  # one box for all classes
        count = len(state["class_logits.weight"])
        for part in ("weight", "bias"):
            state[f"box_deltas.{part}"] = torch.cat([state[f"box_deltas.{part}"]] * count)
    pooling = str(extras.get("pooling_mode", "align"))
    options = {"pooling": pooling, "pool_size": 7, "dilated": False, "min_side": 0.0}
    return {"rpn.anchors": base_anchors(), **state}, options


_RPN_BIAS = "proposal_generator.rpn_head.objectness_logits.bias"

MILVLG = ReleaseFormat(
    "MILVLG",
    lambda state: len(state.get(_RPN_BIAS, ())) == 2 * len(RATIOS) * len(SCALES),
    (
        *_DETECTRON,
        (r"roi_heads\.box_predictor\.cls_embed\.weight", "attribute_head.embedding.weight"),
        (r"roi_heads\.box_predictor\.attr_linear1\.(?P<p>weight|bias)", "attribute_head.hidden.{p}"),
        (r"roi_heads\.box_predictor\.attr_linear2\.(?P<p>weight|bias)", "attribute_head.logits.{p}"),
    ),
    _caffe_order,
)

AIRSPLAY = ReleaseFormat(
    "airsplay / Hugging Face",
    lambda state: len(state.get(_RPN_BIAS, ())) == len(RATIOS) * len(SCALES),
    (
        *_DETECTRON,
        (r"roi_heads\.box_predictor\.cls_embedding\.weight", "attribute_head.embedding.weight"),
        (r"roi_heads\.box_predictor\.fc_attr\.(?P<p>weight|bias)", "attribute_head.hidden.{p}"),
        (r"roi_heads\.box_predictor\.attr_score\.(?P<p>weight|bias)", "attribute_head.logits.{p}"),
    ),
    _airsplay_order,
)

_BLOCK = (
    r"(?P<block>\d+)\.(?P<rest>(conv[123]|bn[123]|downsample\.[01])\.(weight|bias|running_mean|running_var))"
)

JWYANG = ReleaseFormat(
    "jwyang style",
    lambda state: "RCNN_base.0.weight" in state,
    (
        (r"RCNN_base\.0\.weight", "trunk.conv1.weight"),
        (r"RCNN_base\.1\.(?P<p>weight|bias|running_mean|running_var)", "trunk.bn1.{p}"),
        (r"RCNN_base\.4\." + _BLOCK, "trunk.layer1.{block}.{rest}"),
        (r"RCNN_base\.5\." + _BLOCK, "trunk.layer2.{block}.{rest}"),
        (r"RCNN_base\.6\." + _BLOCK, "trunk.layer3.{block}.{rest}"),
        (r"RCNN_top\.0\." + _BLOCK, "trunk.layer4.{block}.{rest}"),
        (r"RCNN_rpn\.RPN_Conv\.(?P<p>weight|bias)", "rpn.conv.{p}"),
        (r"RCNN_rpn\.RPN_cls_score\.(?P<p>weight|bias)", "rpn.scores.{p}"),
        (r"RCNN_rpn\.RPN_bbox_pred\.(?P<p>weight|bias)", "rpn.deltas.{p}"),
        (r"RCNN_cls_score\.(?P<p>weight|bias)", "class_logits.{p}"),
        (r"RCNN_bbox_pred\.(?P<p>weight|bias)", "box_deltas.{p}"),
    ),
    _jwyang_order,
)

#: The original, with its layers and blobs named by ``from_caffe``.
CAFFE = ReleaseFormat(
    "Caffe",
    lambda state: "rpn_conv/3x3.weight" in state,
    (
        (r"conv1\.weight", "trunk.conv1.weight"),
        (r"bn_conv1\.(?P<p>\w+)", "trunk.bn1.{p}"),
        (r"trunk\.(?P<rest>.+)", "trunk.{rest}"),
        (r"rpn_conv/3x3\.(?P<p>weight|bias)", "rpn.conv.{p}"),
        (r"rpn_cls_score\.(?P<p>weight|bias)", "rpn.scores.{p}"),
        (r"rpn_bbox_pred\.(?P<p>weight|bias)", "rpn.deltas.{p}"),
        (r"cls_score\.(?P<p>weight|bias)", "class_logits.{p}"),
        (r"bbox_pred\.(?P<p>weight|bias)", "box_deltas.{p}"),
        (r"cls_embedding\.weight", "attribute_head.embedding.weight"),
        (r"fc_attr\.(?P<p>weight|bias)", "attribute_head.hidden.{p}"),
        (r"attr_score\.(?P<p>weight|bias)", "attribute_head.logits.{p}"),
    ),
    _caffe_order,
)

#: All formats, in the order in which they are tried.
RELEASE_FORMATS = (CAFFE, MILVLG, AIRSPLAY, JWYANG)


def recognize_format(state: Mapping[str, Any]) -> ReleaseFormat:
    """Return the format of a state dict.

    Raises:
        ValueError: If it is that of the pre-activation ResNet-152, or unknown.
    """
    if any(re.search(r"stem\.norm\.|res5_bn|bn_data", key) for key in state):
        raise ValueError(
            "these are weights of the pre-activation ResNet-152 (v2), another network (batch norm before "
            "the convolutions, an undilated last stage); use those of the ResNet-101"
        )
    for release in RELEASE_FORMATS:
        if release.matches(state):
            return release
    if "rpn.head.cls_logits.weight" in state:
        raise ValueError(
            "these are weights of a torchvision detector; use detector=fpn_r50 or another of torchvision's"
        )
    some_keys = ", ".join(list(state)[:3])
    names = ", ".join(release.name for release in RELEASE_FORMATS)
    raise ValueError(f"keys such as {some_keys} are of no known format ({names}, bua's own)")
