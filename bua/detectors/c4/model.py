"""The paper's detector as one module: trunk, proposal network, and the heads over pooled regions.

Anderson et al. 2018, section 3.1, in the form of the released Caffe network.

Shapes: B images, N regions, M annotated objects, C classes with background at 0, A attributes (with
"no attribute" as an additional one at 0), 2048 numbers per region feature.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align, roi_pool

from bua.detectors.boxes import BoxConvention
from bua.detectors.c4.rpn import ProposalNetwork, ProposalOptions
from bua.detectors.c4.trunk import FEATURE_SIZE, STRIDE, Trunk
from bua.detectors.photo import Resize, ResizeGeometry
from bua.detectors.rcnn import IMAGENET_DEVIATIONS, IMAGENET_MEANS, attribute_loss, build_attribute_head
from bua.detectors.selection import BoxRegression, Proposals, Weights, split_by_image, whole_image_box
from bua.detectors.weight_files import load_state_dict, read_state_dict

#: Means of blue, green and red that Caffe's networks subtract, for values from 0 to 255.
CAFFE_MEANS = (102.9801, 115.9465, 122.7717)
#: Number of regions that the last stage is applied to at once.
CHUNK_SIZE = 512
#: Number of regions sampled in training, and how many of them at most are objects; the rest, background,
#: overlap objects by less than 0.5.
SAMPLE_SIZE, MAX_FOREGROUND = 64, 32


@dataclass(frozen=True, kw_only=True)
class C4Options:
    """Options in which the releases of this detector differ.

    Attributes:
        box_convention: ``caffe`` or ``modern``.
        pooling: ``pool`` (maxima, as in Caffe) or ``align`` (bilinear).
        pool_size: Number of cells per side of a pooled region.
        dilated: Whether the last stage keeps the resolution.
        box_weights: Numbers that box deltas are divided by.
        min_side: Minimum side of a proposal in pixels of the original image.
        limit_sizes: Whether the logarithm of a size ratio is limited to that of 1000 / 16.
        proposals: Number of proposals that are passed on.
        proposals_before: Number of anchors that go into non-maximum suppression.
        proposal_nms: Overlap at which the worse of two proposals is dropped.

    Raises:
        ValueError: If ``box_convention`` or ``pooling`` is unknown.
    """

    box_convention: str = "caffe"
    pooling: str = "pool"
    pool_size: int = 14
    dilated: bool = True
    box_weights: Weights = (10.0, 10.0, 5.0, 5.0)
    min_side: float = 16.0
    limit_sizes: bool = False
    proposals: int = 300
    proposals_before: int = 6000
    proposal_nms: float = 0.7

    def __post_init__(self) -> None:
        BoxConvention.from_name(self.box_convention)
        if self.pooling not in ("pool", "align"):
            raise ValueError(f"pooling must be pool or align, got {self.pooling}")
        object.__setattr__(self, "box_weights", tuple(float(w) for w in self.box_weights))

    @property
    def max_log_scale(self) -> float | None:
        """Upper limit for the logarithm of a size ratio, or None for no limit."""
        return math.log(1000 / 16) if self.limit_sizes else None

    @property
    def proposal_options(self) -> ProposalOptions:
        """Options for filtering anchors into proposals at inference."""
        return ProposalOptions(
            pre_nms_top_n=self.proposals_before,
            post_nms_top_n=self.proposals,
            nms_iou=self.proposal_nms,
            min_side=self.min_side,
            max_log_scale=self.max_log_scale,
        )


class C4RCNN(nn.Module):
    """Faster R-CNN over the fourth stage of a ResNet, with attributes.

    As in the release, weights of the heads are drawn from N(0, 0.01), and their biases start at 0.

    Args:
        classes: Names of the classes, without background.
        attributes: Names of the attributes, without "no attribute"; empty for no attribute head.
        resize: Rule by which images are resized.
        blocks: Numbers of bottleneck blocks of the four stages. Default: those of ResNet-101.
        frozen_stages: Number of stages of the trunk that are frozen; the default 3 is the stem, ``res2`` and
            ``res3``.
        pretrained: Weight file of an ImageNet ResNet in torchvision's format to start from; needed for
            training, because the frozen stages are not trained. Default: random weights.
        options: Fields of ``C4Options``.

    Raises:
        ValueError: If an option is invalid.
        InputError: If the pretrained weights are missing, damaged, or of another network.
    """

    means: Tensor

    def __init__(
        self,
        *,
        classes: Sequence[str],
        attributes: Sequence[str],
        resize: Resize,
        blocks: Sequence[int] = (3, 4, 23, 3),
        frozen_stages: int = 3,
        pretrained: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.options = C4Options(**options)
        self.classes, self.attributes = tuple(classes), tuple(attributes)
        self.has_names = True  # False if the names are only numbers
        self.feature_size, self.resize = FEATURE_SIZE, resize
        self.convention = BoxConvention.from_name(self.options.box_convention)
        num_classes = len(self.classes) + 1
        self.register_buffer("means", torch.tensor(CAFFE_MEANS).reshape(3, 1, 1), persistent=False)
        self.trunk = Trunk(blocks=blocks, dilated=self.options.dilated)
        if pretrained is not None:
            self._load_pretrained(Path(pretrained))
        self.trunk.freeze(frozen_stages)
        self.rpn = ProposalNetwork(self.convention)
        self.class_logits = nn.Linear(FEATURE_SIZE, num_classes)
        self.box_deltas = nn.Linear(FEATURE_SIZE, 4 * num_classes)
        self.attribute_head = build_attribute_head(
            FEATURE_SIZE, self.classes, self.attributes, embedding_size=256, hidden_size=512
        )
        for head in (self.class_logits, self.box_deltas, self.attribute_head):
            for name, parameter in head.named_parameters() if head is not None else ():
                nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=0.01)

    def _load_pretrained(self, path: Path) -> None:
        """Load torchvision's weights, whose stem expects normalized RGB from 0 to 1.

        The first convolution and the mean of its batch norm are changed so that they compute the same from
        the input of this network (BGR from 0 to 255 minus Caffe's means), except at the image border. The
        strides stay where this network has them.
        """
        state = {k: v.clone() for k, v in read_state_dict(path).items() if not k.startswith("fc.")}
        load_state_dict(self.trunk, state, path, "a ResNet of these blocks")
        scale, shift = (torch.tensor(values).flip(0) for values in (IMAGENET_DEVIATIONS, IMAGENET_MEANS))
        with torch.no_grad():
            weight = self.trunk.conv1.weight.flip(1) / (255 * scale).reshape(1, 3, 1, 1)
            self.trunk.conv1.weight.copy_(weight)
            mean_difference = (255 * shift - self.means.flatten()).reshape(1, 3, 1, 1)
            self.trunk.bn1.running_mean += (weight * mean_difference).sum((1, 2, 3))

    def map(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1024 h w"]:
        """Return the feature map of resized images, RGB from 0 to 255."""
        return self.trunk.map(pixels.flip(1) - self.means)

    def propose(
        self,
        pixels: Float[Tensor, "B 3 H W"],
        geometries: Sequence[ResizeGeometry],
        given: Sequence[Tensor | None],
    ) -> list[Proposals]:
        """Return the proposals of images of one size, or the predictions for given boxes.

        Args:
            pixels: Resized images, RGB from 0 to 255.
            geometries: Sizes of each image before and after resizing.
            given: Boxes of each image to use instead of proposals, shape (K, 4), in pixels of the
                original image, or None.
        """
        maps = self.map(pixels)
        boxes = [
            self._boxes(maps[n : n + 1], geometry)
            if given_boxes is None
            else geometry.to_resized(given_boxes)
            for n, (geometry, given_boxes) in enumerate(zip(geometries, given, strict=True))
        ]
        features = self.features(maps, boxes)
        logits = self.class_logits(features).float()
        deltas = self.box_deltas(features).float().reshape(len(features), -1, 4)
        attributes = self._attributes(features, logits.argmax(1))
        weights, max_log_scale = self.options.box_weights, self.options.max_log_scale
        regressions = [
            BoxRegression(weights, max_log_scale, self.convention, geometry) for geometry in geometries
        ]
        return split_by_image(boxes, features, logits, deltas, attributes, regressions)

    def features(
        self, maps: Float[Tensor, "B 1024 h w"], boxes: Sequence[Float[Tensor, "N 4"]]
    ) -> Float[Tensor, "BN 2048"]:
        """Return the mean of the last stage over each pooled region, one image after the other.

        Args:
            maps: Feature maps of the images.
            boxes: Boxes of each image, in pixels of the resized image.
        """
        image_index = [b.new_full((len(b), 1), n) for n, b in enumerate(boxes)]
        regions = torch.cat([torch.cat(image_index), torch.cat(list(boxes))], 1)
        pool, size = (roi_pool if self.options.pooling == "pool" else roi_align), self.options.pool_size
        maps = maps.float()  # not every device can pool in half precision
        chunks = [
            self.trunk.last_stage(pool(maps, chunk, size, 1 / STRIDE)).mean((2, 3))
            for chunk in torch.split(regions, CHUNK_SIZE)
        ]
        return torch.cat(chunks) if len(regions) else maps.new_zeros(0, FEATURE_SIZE)

    def _boxes(self, maps: Tensor, geometry: ResizeGeometry) -> Tensor:
        """Return the proposals, or the whole image if it is too small to have any."""
        boxes = self._propose(self.rpn(maps), geometry, self.options.proposal_options)
        return boxes if len(boxes) else whole_image_box(boxes, geometry, self.convention)

    def _propose(
        self, rpn_output: tuple[Tensor, Tensor, Tensor], geometry: ResizeGeometry, options: ProposalOptions
    ) -> Float[Tensor, "N 4"]:
        scores, deltas, anchors = rpn_output
        size, scale = geometry.resized_size, geometry.scale[0]
        boxes, _ = self.rpn.propose(scores, deltas, anchors, size=size, scale=scale, options=options)
        return boxes

    def _attributes(self, features: Tensor, labels: Int[Tensor, " N"]) -> Float[Tensor, "N A1"] | None:
        if self.attribute_head is None:
            return None
        probabilities: Tensor = self.attribute_head(features, labels).float().softmax(1)
        return probabilities

    def losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the losses of proposals, classes, boxes and attributes, averaged over the images.

        As in the original, every image is processed by itself, without padding.

        Args:
            images: Images of any size, shape (3, H, W) each, RGB from 0 to 1.
            targets: For each image ``boxes`` (M, 4) in pixels, ``labels`` (M,) counted from 1, and boolean
                ``attributes`` (M, A + 1).
        """
        per_image = [self._losses(image, target) for image, target in zip(images, targets, strict=True)]
        return {name: torch.stack([losses[name] for losses in per_image]).mean() for name in per_image[0]}

    def _losses(self, image: Tensor, target: dict[str, Tensor]) -> dict[str, Tensor]:
        pixels, geometry = self.resize(image * 255)
        maps = self.map(pixels[None])
        # Boxes that cover the pixels x to x + w - 1. The original takes x + w, which shifts mirrored boxes.
        truth = geometry.to_resized(target["boxes"])
        truth = torch.cat([truth[:, :2], truth[:, 2:] - self.convention.offset], 1)
        rpn_output: tuple[Tensor, Tensor, Tensor] = self.rpn(maps)
        score_loss, delta_loss = self.rpn.losses(*rpn_output, truth, geometry.resized_size)
        losses = {"rpn_class": score_loss, "rpn_box": delta_loss}
        options = replace(self.options.proposal_options, pre_nms_top_n=12000, post_nms_top_n=2000)
        proposals = self._propose(rpn_output, geometry, options)
        boxes, labels, matched = self._sample(torch.cat([proposals, truth]), truth, target["labels"])
        features = self.features(maps, [boxes])
        losses["class"] = F.cross_entropy(self.class_logits(features).float(), labels)
        foreground = (labels > 0).nonzero().squeeze(1)
        deltas = self.box_deltas(features[foreground]).float().reshape(len(foreground), -1, 4)
        deltas = deltas[torch.arange(len(foreground), device=deltas.device), labels[foreground]]
        target_deltas = self.convention.encode(
            boxes[foreground], truth[matched[foreground]], weights=self.options.box_weights
        )
        losses["box"] = F.smooth_l1_loss(deltas, target_deltas, reduction="sum") / max(1, len(labels))
        if self.attribute_head is not None:
            logits = self.attribute_head(features[foreground], labels[foreground]).float()
            losses["attribute"] = 0.5 * attribute_loss(logits, target["attributes"][matched[foreground]])
        return losses

    def _sample(
        self, boxes: Tensor, truth: Tensor, labels: Tensor
    ) -> tuple[Float[Tensor, "N 4"], Int[Tensor, " N"], Int[Tensor, " N"]]:
        """Sample training regions: boxes, classes (0 is background), and indices of the annotated boxes."""
        overlap, matched = self.convention.iou(boxes, truth).max(1)
        foreground = _choose((overlap >= 0.5).nonzero().squeeze(1), MAX_FOREGROUND)
        background = _choose((overlap < 0.5).nonzero().squeeze(1), SAMPLE_SIZE - len(foreground))
        index = torch.cat([foreground, background])
        sampled_labels = labels[matched[index]].clone()
        sampled_labels[len(foreground) :] = 0
        return boxes[index], sampled_labels, matched[index]


def _choose(index: Int[Tensor, " N"], count: int) -> Int[Tensor, " M"]:
    """Return at most ``count`` entries at random."""
    return index[torch.randperm(len(index), device=index.device)[:count]]
