"""The forms in which weights of this detector were released, and how each becomes ours.

A dialect is recognised by its keys. Its tensors are renamed, positions of background and
"no attribute" are moved to the front, anchors are put in our order, and what its network does
differently is returned as options of ``C4RCNN``. Facts: the published code of each release.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bua.detectors.c4.anchors import RATIOS, SCALES, base_anchors

State = dict[str, Tensor]

#: Read by nobody: counters of batch norm, and buffers that repeat the configuration.
_IGNORED = re.compile(r"num_batches_tracked$|^pixel_(mean|std)$")


@dataclass(frozen=True)
class ReleaseFormat:
    """One form of the weights.

    Attributes:
        name: what users call it.
        known_by: whether tensors are of this form.
        names: patterns of its keys and ours; the first that fits is taken.
        finish: puts renamed tensors into our order and returns them with the options.
    """

    name: str
    known_by: Callable[[Mapping[str, Any]], bool]
    names: tuple[tuple[str, str], ...]
    finish: Callable[[State, Mapping[str, Any]], tuple[State, dict[str, Any]]]

    def translate(self, state: State, extras: Mapping[str, Any]) -> tuple[State, dict[str, Any], list[str]]:
        """Return tensors by our names, options, and the keys that are not used.

        Raises:
            ValueError: a key is not known.
        """
        ours: State = {}
        unused: list[str] = []
        unknown: list[str] = []
        for key, value in state.items():
            name = self._name(key)
            if name in ours:
                raise ValueError(f"{key} is there twice, under two names")
            if name is not None:
                ours[name] = value
            else:
                (unused if _IGNORED.search(key) else unknown).append(key)
        if unknown:
            raise ValueError(
                f"{len(unknown)} tensors of {self.name} have no place, the first is {unknown[0]}"
            )
        ours, options = self.finish(ours, extras)
        return ours, options, unused

    def _name(self, key: str) -> str | None:
        for pattern, ours in self.names:
            found = re.fullmatch(pattern, key)
            if found:
                parts = found.groupdict()
                if "s" in parts:  # stages count from 2 there and from 1 here
                    parts["s"] = str(int(parts["s"]) - 1)
                return ours.format(**parts)
        return None


#: The trunk as detectron2 names it, for the two releases that do.
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
    """MILVLG and the original: everything stands as in Caffe; released deltas are not normalised."""
    return {"rpn.anchors": base_anchors(), **state}, {"box_weights": (1.0, 1.0, 1.0, 1.0)}


def _airsplay_order(state: State, extras: Mapping[str, Any]) -> tuple[State, dict[str, Any]]:
    """One logit an anchor, anchors size-major, background and "no attribute" last, modern boxes."""
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
    """Objects only, regions pooled to 7 x 7, last stage with its stride; order as in Caffe."""
    if len(state["box_deltas.weight"]) == 4:  # one box for all classes
        count = len(state["class_logits.weight"])
        for part in ("weight", "bias"):
            state[f"box_deltas.{part}"] = torch.cat([state[f"box_deltas.{part}"]] * count)
    pooling = str(extras.get("pooling_mode", "align"))
    options = {"pooling": pooling, "pool_size": 7, "dilated": False, "min_side": 0.0}
    return {"rpn.anchors": base_anchors(), **state}, options


_RPN = "proposal_generator.rpn_head.objectness_logits.bias"

MILVLG = ReleaseFormat(
    "MILVLG",
    lambda state: len(state.get(_RPN, ())) == 2 * len(RATIOS) * len(SCALES),
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
    lambda state: len(state.get(_RPN, ())) == len(RATIOS) * len(SCALES),
    (
        *_DETECTRON,
        (r"roi_heads\.box_predictor\.cls_embedding\.weight", "attribute_head.embedding.weight"),
        (r"roi_heads\.box_predictor\.fc_attr\.(?P<p>weight|bias)", "attribute_head.hidden.{p}"),
        (r"roi_heads\.box_predictor\.attr_score\.(?P<p>weight|bias)", "attribute_head.logits.{p}"),
    ),
    _airsplay_order,
)

_INSIDE = (
    r"(?P<block>\d+)\.(?P<rest>(conv[123]|bn[123]|downsample\.[01])\.(weight|bias|running_mean|running_var))"
)

JWYANG = ReleaseFormat(
    "jwyang style",
    lambda state: "RCNN_base.0.weight" in state,
    (
        (r"RCNN_base\.0\.weight", "trunk.conv1.weight"),
        (r"RCNN_base\.1\.(?P<p>weight|bias|running_mean|running_var)", "trunk.bn1.{p}"),
        (r"RCNN_base\.4\." + _INSIDE, "trunk.layer1.{block}.{rest}"),
        (r"RCNN_base\.5\." + _INSIDE, "trunk.layer2.{block}.{rest}"),
        (r"RCNN_base\.6\." + _INSIDE, "trunk.layer3.{block}.{rest}"),
        (r"RCNN_top\.0\." + _INSIDE, "trunk.layer4.{block}.{rest}"),
        (r"RCNN_rpn\.RPN_Conv\.(?P<p>weight|bias)", "rpn.conv.{p}"),
        (r"RCNN_rpn\.RPN_cls_score\.(?P<p>weight|bias)", "rpn.scores.{p}"),
        (r"RCNN_rpn\.RPN_bbox_pred\.(?P<p>weight|bias)", "rpn.deltas.{p}"),
        (r"RCNN_cls_score\.(?P<p>weight|bias)", "class_logits.{p}"),
        (r"RCNN_bbox_pred\.(?P<p>weight|bias)", "box_deltas.{p}"),
    ),
    _jwyang_order,
)

#: The original, its layers and blobs named by ``from_caffe``.
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

#: In the order in which they are tried.
RELEASE_FORMATS = (CAFFE, MILVLG, AIRSPLAY, JWYANG)


def recognize_format(state: Mapping[str, Any]) -> ReleaseFormat:
    """Return the dialect of a set of keys.

    Raises:
        ValueError: it is the pre-activation ResNet-152, or none that is known.
    """
    if any(re.search(r"stem\.norm\.|res5_bn|bn_data", key) for key in state):
        raise ValueError(
            "these are weights of the pre-activation ResNet-152 (v2), another network (batch norm before "
            "the convolutions, an undilated last stage); the ResNet-101 weights are read"
        )
    for dialect in RELEASE_FORMATS:
        if dialect.known_by(state):
            return dialect
    if "rpn.head.cls_logits.weight" in state:
        raise ValueError(
            "these are weights of a detector of torchvision; detector=fpn_r50 and others read them"
        )
    some = ", ".join(list(state)[:3])
    names = ", ".join(dialect.name for dialect in RELEASE_FORMATS)
    raise ValueError(f"keys such as {some} are of none of the known forms: {names}, bua's own")
