"""torchvision's Faster R-CNN detectors with a feature pyramid, giving regions instead of detections."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, faster_rcnn
from torchvision.ops import FrozenBatchNorm2d

from bua.detectors.download import download, load_into, read_state
from bua.detectors.frozen_detector import FrozenDetector, file_sha256
from bua.detectors.rcnn import PyramidRCNN, attribute_head
from bua.detectors.resize import Resize
from bua.detectors.selection import SelectionRule
from bua.errors import InputError
from bua.text.names import read_names

#: How torchvision's detectors resize photographs.
RESIZE: dict[str, Any] = {"side": 800, "longest": 1333, "rule": "torchvision"}
#: Key of the recipe in the metadata of bua's own files.
RECIPE = "torchvision_rcnn"


@dataclass(frozen=True)
class Architecture:
    """One of torchvision's detectors.

    Attributes:
        build: makes it.
        weights: its published weights.
        frozen_eps: of the batch norms that never learn; none where they do learn.
    """

    build: Callable[..., FasterRCNN]
    weights: Any
    frozen_eps: float | None


#: By the name of the detector. The first weights were published with an epsilon of 0.
ARCHITECTURES = {
    "fpn_r50": Architecture(
        faster_rcnn.fasterrcnn_resnet50_fpn, faster_rcnn.FasterRCNN_ResNet50_FPN_Weights.COCO_V1, 0.0
    ),
    "fpn_r50_v2": Architecture(
        faster_rcnn.fasterrcnn_resnet50_fpn_v2, faster_rcnn.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1, None
    ),
    "fpn_mobilenet": Architecture(
        faster_rcnn.fasterrcnn_mobilenet_v3_large_fpn,
        faster_rcnn.FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1,
        1e-5,
    ),
}


class TorchvisionRCNN(PyramidRCNN):
    """One of torchvision's detectors, with an attribute head where there are attributes.

    Args:
        architecture: ``fpn_r50``, ``fpn_r50_v2`` or ``fpn_mobilenet``.
        classes: names of classes, without background.
        attributes: names of attributes, without "no attribute"; empty for no attribute head.
        resize: of photographs.
        proposals: regions that the proposal network may pass on at inference.
        pretrained: file of torchvision weights to begin from, or ``coco`` for the published ones; its
            layers for other classes are left out.
    """

    def __init__(
        self,
        *,
        architecture: str,
        classes: Sequence[str],
        attributes: Sequence[str],
        resize: Resize,
        proposals: int = 300,
        pretrained: str | None = None,
    ) -> None:
        if architecture not in ARCHITECTURES:
            raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, not {architecture}")
        kind = ARCHITECTURES[architecture]
        net = kind.build(
            weights=None,
            weights_backbone=None,
            num_classes=len(classes) + 1,
            rpn_post_nms_top_n_test=proposals,
            rpn_pre_nms_top_n_test=max(1000, proposals),
        )
        if kind.frozen_eps is not None:
            freeze_norms(net, kind.frozen_eps)
        self.architecture, self.proposals = architecture, proposals
        size = net.roi_heads.box_predictor.cls_score.in_features
        super().__init__(
            classes=classes,
            attributes=attributes,
            resize=resize,
            backbone=net.backbone,
            rpn=net.rpn,
            heads=net.roi_heads,
            attribute_head=attribute_head(size, classes, attributes, embedding_size=256, hidden_size=512),
        )
        if pretrained is not None:
            path = download(kind.weights.url) if pretrained == "coco" else Path(pretrained)
            self._begin_from(path)

    def _begin_from(self, path: Path) -> None:
        found, wanted = ours(read_state(path)), self.state_dict()
        fits = {k: v for k, v in found.items() if k in wanted and wanted[k].shape == v.shape}
        lost = [k for k in found if k not in fits and not k.startswith("heads.box_predictor.")]
        if lost or not fits:
            raise InputError(
                f"{path}: {lost[0] if lost else 'nothing in it'} does not fit {self.architecture}"
            )
        self.load_state_dict(fits, strict=False)


def freeze_norms(module: nn.Module, eps: float) -> None:
    """Replace every batch norm inside by one that never learns, as in the published detectors."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=eps))
        else:
            freeze_norms(child, eps)


def ours(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name torchvision's tensors as ``PyramidRCNN`` does."""
    return {
        f"heads.{name.removeprefix('roi_heads.')}" if name.startswith("roi_heads.") else name: value
        for name, value in state.items()
    }


def load_fpn(
    path: Path,
    architecture: str,
    *,
    proposals: int,
    side: int | None = None,
    longest: int | None = None,
) -> TorchvisionRCNN:
    """Build a detector from torchvision's weights, or from a file made by ``bua ship``.

    Args:
        path: the file.
        architecture: ``fpn_r50``, ``fpn_r50_v2`` or ``fpn_mobilenet``.
        proposals: regions passed on by the proposal network.
        side: of resized photographs; none for that in the file, or torchvision's 800.
        longest: the same; none for that in the file, or 1333.

    Raises:
        InputError: the file is missing, damaged, or of another architecture.
    """
    recipe = _recipe(path)
    state = ours(read_state(path) if recipe is None else load_file(path))
    if recipe is None and "heads.box_predictor.cls_score.bias" not in state:
        raise InputError(f"{path}: not weights of {architecture}: it has no layer of classes")
    names = recipe or {"classes": _categories(architecture, state), "attributes": []}
    if names.get("architecture", architecture) != architecture:
        raise InputError(f"{path}: not weights of {architecture}: it is of {names['architecture']}")
    resize = {**RESIZE, **names.get("resize", {})}
    resize |= {k: v for k, v in (("side", side), ("longest", longest)) if v is not None}
    model = TorchvisionRCNN(
        architecture=architecture,
        classes=names["classes"],
        attributes=names["attributes"],
        resize=Resize(**resize),
        proposals=proposals,
    )
    load_into(model, state, path, architecture)
    return model


def save_fpn(path: Path, model: TorchvisionRCNN) -> None:
    """Write a detector in bua's own form: safetensors, with names beside the tensors."""
    recipe = {
        "architecture": model.architecture,
        "classes": model.classes,
        "attributes": model.attributes,
        "resize": vars(model.resize),
    }
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, path, metadata={RECIPE: json.dumps(recipe)})


def _recipe(path: Path) -> dict[str, Any] | None:
    try:
        with safe_open(path, framework="pt") as file:
            recipe: dict[str, Any] = json.loads((file.metadata() or {})[RECIPE])
            return recipe
    except (SafetensorError, OSError, KeyError, ValueError):
        return None


def _categories(architecture: str, state: dict[str, Tensor]) -> list[str]:
    """Return COCO's names for weights of so many classes, and numbers for others."""
    count = len(state["heads.box_predictor.cls_score.bias"])
    published: list[str] = ARCHITECTURES[architecture].weights.meta["categories"]
    return published[1:] if count == len(published) else [f"class {n}" for n in range(count - 1)]


class FpnDetector(FrozenDetector):
    """A frozen ``TorchvisionRCNN`` with a selection rule.

    Args:
        name: of the detector.
        architecture: ``fpn_r50``, ``fpn_r50_v2`` or ``fpn_mobilenet``.
        weights: file of torchvision's weights, or made by ``bua ship``; none for those that
            torchvision publishes for COCO, which are downloaded.
        selection: which proposals become regions.
        proposals: regions passed on by the proposal network.
        side: shorter side of a resized photograph; none for that of the weights, 800.
        longest: longer side at most; none for that of the weights, 1333.
        classes: file with a class a line, where the weights have no names.
        device: to run on.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        channels_last: lay maps out for convolutions in mixed precision.

    Raises:
        InputError: the weights are missing, damaged, of another network, or cannot be downloaded.
    """

    def __init__(
        self,
        *,
        name: str,
        architecture: str,
        weights: str | None,
        selection: SelectionRule,
        proposals: int,
        side: int | None = None,
        longest: int | None = None,
        classes: str | None = None,
        device: str = "cpu",
        precision: str = "32-true",
        channels_last: bool = False,
    ) -> None:
        path = Path(weights) if weights else download(ARCHITECTURES[architecture].weights.url)
        model = load_fpn(path, architecture, proposals=proposals, side=side, longest=longest)
        if classes is not None:
            names = read_names(classes, "label")
            if len(names) != len(model.classes):
                raise InputError(f"{classes}: {len(names)} names for {len(model.classes)} classes of {path}")
            model.classes = tuple(names)
        super().__init__(
            name=name,
            model=model,
            selection=selection,
            weights_sha256=file_sha256(path),
            configuration={
                "type": "FpnDetector",
                "name": name,
                "architecture": architecture,
                "side": model.resize.side,
                "longest": model.resize.longest,
                "proposals": proposals,
            },
            device=device,
            precision=precision,
            channels_last=channels_last,
        )
