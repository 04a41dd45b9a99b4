"""torchvision's Faster R-CNN detectors with a feature pyramid, as detectors of regions."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, faster_rcnn
from torchvision.ops import FrozenBatchNorm2d

from bua.detectors.detector import FrozenDetector
from bua.detectors.photo import Resize
from bua.detectors.rcnn import PyramidRCNN, build_attribute_head
from bua.detectors.selection import SelectionRule
from bua.detectors.weight_files import download, load_state_dict, read_safetensors, read_state_dict
from bua.errors import InputError
from bua.io.files import file_sha256
from bua.io.schema import parse_json
from bua.io.write import write_bytes
from bua.text.names import read_names

#: Arguments of ``Resize`` that torchvision's detectors use.
RESIZE: dict[str, Any] = {"min_size": 800, "max_size": 1333, "rule": "torchvision"}
#: Key of the model's arguments in the metadata of bua's own weight files.
RECIPE = "torchvision_rcnn"


@dataclass(frozen=True)
class Architecture:
    """One of torchvision's detectors.

    Attributes:
        build: Function that builds the detector.
        weights: Published weights of the detector, an entry of a torchvision weights enum.
        frozen_eps: Epsilon of the frozen batch norms, or None if the batch norms are trained.
    """

    build: Callable[..., FasterRCNN]
    weights: Any
    frozen_eps: float | None


#: Architectures by the name of the detector. The weights of the first were published for an epsilon of 0.
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
    """One of torchvision's detectors, with an attribute head if there are attributes.

    Args:
        architecture: ``fpn_r50``, ``fpn_r50_v2`` or ``fpn_mobilenet``.
        classes: Names of the classes, without background.
        attributes: Names of the attributes, without "no attribute"; empty for no attribute head.
        resize: Rule by which images are resized.
        proposals: Number of proposals that the proposal network passes on at inference. Default: 300.
        pretrained: File of torchvision weights to start from, or ``coco`` for the published ones; layers for
            other classes are skipped. Default: random weights.

    Raises:
        ValueError: If the architecture is unknown.
        InputError: If the pretrained weights are missing, damaged, or of another architecture.
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
            raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture}")
        spec = ARCHITECTURES[architecture]
        net = spec.build(
            weights=None,
            weights_backbone=None,
            num_classes=len(classes) + 1,
            rpn_post_nms_top_n_test=proposals,
            rpn_pre_nms_top_n_test=max(1000, proposals),
        )
        if spec.frozen_eps is not None:
            freeze_norms(net, spec.frozen_eps)
        self.architecture, self.proposals = architecture, proposals
        feature_size = net.roi_heads.box_predictor.cls_score.in_features
        super().__init__(
            classes=classes,
            attributes=attributes,
            resize=resize,
            backbone=net.backbone,
            rpn=net.rpn,
            heads=net.roi_heads,
            attribute_head=build_attribute_head(
                feature_size, classes, attributes, embedding_size=256, hidden_size=512
            ),
        )
        if pretrained is not None:
            path = download(spec.weights.url) if pretrained == "coco" else Path(pretrained)
            self._load_pretrained(path)

    def _load_pretrained(self, path: Path) -> None:
        """Load every tensor that fits; only those of the box predictor may fail to."""
        state, expected = rename_torchvision_keys(read_state_dict(path)), self.state_dict()
        matching = {k: v for k, v in state.items() if k in expected and expected[k].shape == v.shape}
        unused = [k for k in state if k not in matching and not k.startswith("heads.box_predictor.")]
        if unused or not matching:
            problem = f"{unused[0]} does not fit" if unused else "no tensor fits"
            raise InputError(f"{path}: not weights of {self.architecture}: {problem}")
        self.load_state_dict(matching, strict=False)


def freeze_norms(module: nn.Module, eps: float) -> None:
    """Replace every batch norm in a module by one that is never trained, as in the published detectors."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=eps))
        else:
            freeze_norms(child, eps)


def rename_torchvision_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of a torchvision detector with the names that ``PyramidRCNN`` uses."""
    return {
        f"heads.{name.removeprefix('roi_heads.')}" if name.startswith("roi_heads.") else name: value
        for name, value in state.items()
    }


def load_fpn(
    path: Path,
    architecture: str,
    *,
    proposals: int,
    min_size: int | None = None,
    max_size: int | None = None,
) -> TorchvisionRCNN:
    """Build a detector from torchvision's weights, or from a file made by ``bua export-detector``.

    Args:
        path: Weight file.
        architecture: ``fpn_r50``, ``fpn_r50_v2`` or ``fpn_mobilenet``.
        proposals: Number of proposals that the proposal network passes on.
        min_size: Length of the shorter side of resized images. Default: that of the file, or
            torchvision's 800.
        max_size: Maximum length of the longer side. Default: that of the file, or torchvision's 1333.

    Raises:
        InputError: If the file is missing, damaged, or of another architecture.
    """
    recipe = _read_recipe(path)
    state = rename_torchvision_keys(read_state_dict(path) if recipe is None else read_safetensors(path))
    if recipe is None and "heads.box_predictor.cls_score.bias" not in state:
        raise InputError(f"{path}: not weights of {architecture}: has no classification layer")
    names = recipe or {"classes": _coco_classes(architecture, state), "attributes": []}
    if names.get("architecture", architecture) != architecture:
        raise InputError(f"{path}: not weights of {architecture}: made for {names['architecture']}")
    resize = {**RESIZE, **names.get("resize", {})}
    resize |= {k: v for k, v in (("min_size", min_size), ("max_size", max_size)) if v is not None}
    model = TorchvisionRCNN(
        architecture=architecture,
        classes=names["classes"],
        attributes=names["attributes"],
        resize=Resize(**resize),
        proposals=proposals,
    )
    load_state_dict(model, state, path, architecture)
    return model


def save_fpn(path: Path, model: TorchvisionRCNN) -> None:
    """Write a detector in bua's own format: safetensors, with the names in the metadata."""
    recipe = {
        "architecture": model.architecture,
        "classes": model.classes,
        "attributes": model.attributes,
        "resize": vars(model.resize),
    }
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    write_bytes(path, save(state, metadata={RECIPE: json.dumps(recipe)}))


def _read_recipe(path: Path) -> dict[str, Any] | None:
    """Return the arguments in the metadata of one of bua's own files, or None for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            recipe: dict[str, Any] = parse_json((file.metadata() or {})[RECIPE], dict[str, Any], path, RECIPE)
            return recipe
    except (SafetensorError, OSError, KeyError, ValueError):
        return None


def _coco_classes(architecture: str, state: dict[str, Tensor]) -> list[str]:
    """Return COCO's names for weights with as many classes as COCO, and numbers for others."""
    count = len(state["heads.box_predictor.cls_score.bias"])
    published: list[str] = ARCHITECTURES[architecture].weights.meta["categories"]
    return published[1:] if count == len(published) else [f"class {n}" for n in range(count - 1)]


class FpnDetector(FrozenDetector):
    """A frozen ``TorchvisionRCNN`` with a selection rule.

    Args:
        name: Name of the detector.
        architecture: ``fpn_r50``, ``fpn_r50_v2`` or ``fpn_mobilenet``.
        weights: File of torchvision's weights, or made by ``bua export-detector``; None to download the
            weights that torchvision publishes for COCO.
        selection: Rule that selects which proposals become regions.
        proposals: Number of proposals that the proposal network passes on.
        min_size: Length of the shorter side of resized images. Default: that of the weights, or 800.
        max_size: Maximum length of the longer side. Default: that of the weights, or 1333.
        classes: File with one class name per line, for weights without names. Default: none.
        device: Device to run on. Default: ``cpu``.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``. Default: ``32-true``.
        channels_last: Whether to use the channels-last memory format, which is faster in mixed precision.

    Raises:
        InputError: If the weights are missing, damaged, of another network, or cannot be downloaded, or
            the number of class names is wrong.
    """

    def __init__(
        self,
        *,
        name: str,
        architecture: str,
        weights: str | None,
        selection: SelectionRule,
        proposals: int,
        min_size: int | None = None,
        max_size: int | None = None,
        classes: str | None = None,
        device: str = "cpu",
        precision: str = "32-true",
        channels_last: bool = False,
    ) -> None:
        path = Path(weights) if weights else download(ARCHITECTURES[architecture].weights.url)
        model = load_fpn(path, architecture, proposals=proposals, min_size=min_size, max_size=max_size)
        if classes is not None:
            names = read_names(classes, "label")
            if len(names) != len(model.classes):
                raise InputError(
                    f"{classes}: {len(names)} class names, but {path} has {len(model.classes)} classes"
                )
            model.classes = tuple(names)
        super().__init__(
            name=name,
            model=model,
            selection=selection,
            weights_sha256=file_sha256(path),
            configuration={
                "class": "FpnDetector",
                "name": name,
                "architecture": architecture,
                "min_size": model.resize.min_size,
                "max_size": model.resize.max_size,
                "proposals": proposals,
            },
            device=device,
            precision=precision,
            channels_last=channels_last,
        )
