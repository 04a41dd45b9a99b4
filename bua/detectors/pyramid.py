"""``scenes_fpn``: a Faster R-CNN small enough to train on a laptop, with the weights that ship with bua.

The backbone has the residual blocks of He et al. 2016 (two 3x3 convolutions) and the feature pyramid of
Lin et al. 2017.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from bua.detectors.detector import FrozenDetector
from bua.detectors.photo import Resize
from bua.detectors.rcnn import PyramidRCNN, build_attribute_head
from bua.detectors.selection import SelectionRule
from bua.detectors.weight_files import load_state_dict, read_safetensors
from bua.errors import InputError
from bua.io.files import file_sha256
from bua.io.schema import parse_json
from bua.io.write import write_bytes

#: Key of the model's arguments in the metadata of a weight file.
RECIPE = "pyramid_rcnn"


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016).

    Args:
        in_size: Number of input channels.
        out_size: Number of output channels.
        stride: Stride of the first convolution and of the shortcut.
    """

    def __init__(self, in_size: int, out_size: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(in_size, out_size, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_size),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_size, out_size, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_size),
        )
        is_identity = in_size == out_size and stride == 1
        self.shortcut = (
            nn.Identity()
            if is_identity
            else nn.Sequential(nn.Conv2d(in_size, out_size, 1, stride, bias=False), nn.BatchNorm2d(out_size))
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in_size, H, W) to (B, out_size, H / stride, W / stride)."""
        out: Tensor = self.relu(self.path(maps) + self.shortcut(maps))
        return out


class NarrowPyramid(nn.Module):
    """A narrow residual network with a feature pyramid, with maps of stride 4, 8, 16 ...

    Args:
        stem_size: Number of channels at stride 2.
        widths: Numbers of channels of the stages at stride 4, 8, 16 ...
        depth: Number of residual blocks per stage.
        out_channels: Number of channels of every map of the pyramid.
    """

    def __init__(self, *, stem_size: int, widths: list[int], depth: int, out_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem_size, 3, 2, 1, bias=False), nn.BatchNorm2d(stem_size), nn.ReLU(inplace=True)
        )
        stages, size = [], stem_size
        for width in widths:
            first = ResidualBlock(size, width, stride=2)
            rest = (ResidualBlock(width, width, stride=1) for _ in range(depth - 1))
            stages.append(nn.Sequential(first, *rest))
            size = width
        self.stages = nn.ModuleList(stages)
        self.pyramid = FeaturePyramidNetwork(list(widths), out_channels)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Map (B, 3, H, W) to feature maps named "0", "1", ... from fine to coarse."""
        maps, out = OrderedDict[str, Tensor](), self.stem(images)
        for level, stage in enumerate(self.stages):
            out = stage(out)
            maps[str(level)] = out
        pyramid: OrderedDict[str, Tensor] = self.pyramid(maps)
        return pyramid


class NarrowPyramidRCNN(PyramidRCNN):
    """A Faster R-CNN small enough to train on a laptop.

    Args:
        backbone: Feature pyramid with as many maps as ``anchors`` has entries.
        classes: Names of the classes, without background.
        attributes: Names of the attributes, without "no attribute"; empty for no attribute head.
        anchors: Side lengths of the anchors of each map, in pixels of the resized image.
        feature_size: Size of a region feature, which is the last hidden layer of the box head.
        proposals: Number of proposals that the proposal network passes on at inference.
        canonical_scale: Side length from which boxes are pooled from the coarsest of three maps.
        min_size: Length in pixels that the shorter side of an image is resized to.
        max_size: Maximum length of the longer side of a resized image in pixels.
    """

    def __init__(
        self,
        *,
        backbone: NarrowPyramid,
        classes: Sequence[str],
        attributes: Sequence[str],
        anchors: Sequence[Sequence[int]],
        feature_size: int,
        proposals: int,
        canonical_scale: int,
        min_size: int,
        max_size: int,
    ) -> None:
        channels, num_classes = backbone.out_channels, len(classes) + 1
        ratios = ((0.5, 1.0, 2.0),) * len(anchors)
        generator = AnchorGenerator(tuple(tuple(sizes) for sizes in anchors), ratios)
        rpn = RegionProposalNetwork(
            generator,
            RPNHead(channels, generator.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=128,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 600, "testing": 600},
            post_nms_top_n={"training": 200, "testing": proposals},
            nms_thresh=0.7,
        )
        heads = RoIHeads(
            MultiScaleRoIAlign([str(n) for n in range(len(anchors))], 7, 2, canonical_scale=canonical_scale),
            TwoMLPHead(channels * 49, feature_size),
            FastRCNNPredictor(feature_size, num_classes),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=32,
            positive_fraction=0.5,
            bbox_reg_weights=None,
            score_thresh=0.05,
            nms_thresh=0.5,
            detections_per_img=100,
        )
        super().__init__(
            classes=classes,
            attributes=attributes,
            resize=Resize(min_size=min_size, max_size=max_size, rule="torchvision"),
            backbone=backbone,
            rpn=rpn,
            heads=heads,
            attribute_head=build_attribute_head(
                feature_size, classes, attributes, embedding_size=32, hidden_size=128
            ),
        )


def save_weights(path: Path, model: NarrowPyramidRCNN, sizes: dict[str, Any]) -> None:
    """Write weights in half precision, with the arguments that the model can be built from.

    Args:
        path: Safetensors file to write.
        model: Trained model.
        sizes: Keyword arguments of ``NarrowPyramidRCNN`` as plain values, with those of its backbone in
            ``backbone``.
    """
    tensors = {
        name: (t.half() if t.is_floating_point() else t).contiguous()
        for name, t in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    write_bytes(path, save(tensors, metadata={RECIPE: json.dumps(sizes)}))


def load_weights(path: Path) -> tuple[NarrowPyramidRCNN, dict[str, Any]]:
    """Build a model from a file that ``save_weights`` wrote, without executing anything in it.

    Returns:
        The model, and the arguments it was built from.

    Raises:
        InputError: If the file does not exist, is damaged, or is of another model.
    """
    if not path.is_file():
        raise InputError(f"{path}: file does not exist; pass weights=FILE made by bua export-detector")
    try:
        with safe_open(path, framework="pt") as file:
            sizes = parse_json((file.metadata() or {})[RECIPE], dict[str, Any], path, RECIPE)
        backbone = NarrowPyramid(**sizes["backbone"])
        model = NarrowPyramidRCNN(**{**sizes, "backbone": backbone})
        state = read_safetensors(path)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not weights of a pyramid detector ({error})") from None
    load_state_dict(model, state, path, "a pyramid detector")
    return model, sizes


class PyramidDetector(FrozenDetector):
    """A frozen ``NarrowPyramidRCNN`` with a selection rule.

    Args:
        name: Name of the detector.
        weights: Safetensors file made by ``bua export-detector``, or None for the weights that ship with bua.
        selection: Rule that selects which proposals become regions.
        device: Device to run on. Default: ``cpu``.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``. Default: ``32-true``.
        channels_last: Whether to use the channels-last memory format, which is faster in mixed precision.

    Raises:
        InputError: If the file does not exist, is damaged, or is of another model.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None,
        selection: SelectionRule,
        device: str = "cpu",
        precision: str = "32-true",
        channels_last: bool = False,
    ) -> None:
        shipped = files("bua.detectors.weights") / "scenes_fpn.safetensors"
        path = Path(weights) if weights else Path(str(shipped))
        super().__init__(
            name=name,
            model=load_weights(path)[0],
            selection=selection,
            weights_sha256=file_sha256(path),
            configuration={"class": "PyramidDetector", "name": name},
            device=device,
            precision=precision,
            channels_last=channels_last,
        )
