"""The paper's detector as one module: trunk, proposals, and the heads over pooled regions.

Anderson et al. 2018, section 3.1, in the form of the released Caffe network. Shapes: N regions,
C classes with background at 0, A attributes, 2048 numbers a region feature.
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

from bua.detectors.attributes import AttributeHead, attribute_loss
from bua.detectors.boxes import BoxConvention
from bua.detectors.c4.rpn import ProposalNetwork, ProposalRule
from bua.detectors.c4.trunk import FEATURE_SIZE, STRIDE, Trunk
from bua.detectors.download import load_into, read_state
from bua.detectors.proposals import Proposals, Regression, Weights, per_image, whole_image
from bua.detectors.rcnn import DEVIATIONS
from bua.detectors.rcnn import MEANS as IMAGENET_MEANS
from bua.detectors.resize import Frame, Resize

#: Means of blue, green and red that Caffe's networks subtract.
MEANS = (102.9801, 115.9465, 122.7717)
#: Regions given to the last stage at once.
CHUNK = 512
#: Half of the regions sampled in training, at most, are things; the rest overlap by less than 0.5.
SAMPLED, THINGS = 64, 32


@dataclass(frozen=True, kw_only=True)
class C4Options:
    """What the releases of this detector do differently.

    Attributes:
        box_convention: ``caffe`` or ``modern``.
        pooling: ``pool`` (maxima, Caffe) or ``align`` (bilinear).
        pool_size: cells a side of a pooled region.
        dilated: whether the last stage keeps the resolution.
        box_weights: by which box deltas are divided.
        min_side: of a proposal, pixels of the photograph.
        limit_sizes: whether the logarithm of a size ratio is limited to that of 1000 / 16.
        proposals: regions passed on.
        proposals_before: anchors that go into suppression.
        proposal_nms: overlap at which the worse proposal goes.
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
        BoxConvention.named(self.box_convention)
        if self.pooling not in ("pool", "align"):
            raise ValueError(f"pooling must be pool or align, not {self.pooling}")
        object.__setattr__(self, "box_weights", tuple(float(w) for w in self.box_weights))

    @property
    def limit(self) -> float | None:
        """The largest logarithm of a size ratio."""
        return math.log(1000 / 16) if self.limit_sizes else None

    @property
    def rule(self) -> ProposalRule:
        """Which anchors become proposals at inference."""
        return ProposalRule(
            self.proposals_before, self.proposals, self.proposal_nms, self.min_side, self.limit
        )


class C4RCNN(nn.Module):
    """Faster R-CNN over the fourth stage of a ResNet, with attributes.

    Args:
        classes: names of classes, without background.
        attributes: names of attributes, without "no attribute"; empty for no attribute head.
        blocks: bottleneck blocks of the four stages of the ResNet.
        resize: of photographs.
        frozen_stages: how many stages of the trunk do not learn; 3 are the stem, res2 and res3.
        pretrained: file of an ImageNet ResNet in torchvision's form to begin from; needed for training,
            as the frozen stages do not learn.
        options: what this release does differently.
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
        self.named = True  # False where numbers stand for names
        self.feature_size, self.resize = FEATURE_SIZE, resize
        self.convention = BoxConvention.named(self.options.box_convention)
        count = len(self.classes) + 1
        self.register_buffer("means", torch.tensor(MEANS).reshape(3, 1, 1), persistent=False)
        self.trunk = Trunk(blocks=blocks, dilated=self.options.dilated)
        if pretrained is not None:
            self._begin_from(Path(pretrained))
        self.trunk.freeze(frozen_stages)
        self.rpn = ProposalNetwork(self.convention)
        self.class_logits = nn.Linear(FEATURE_SIZE, count)
        self.box_deltas = nn.Linear(FEATURE_SIZE, 4 * count)
        self.attribute_head = (
            AttributeHead(
                feature_size=FEATURE_SIZE,
                classes=count,
                attributes=len(self.attributes),
                embedding_size=256,
                hidden_size=512,
            )
            if self.attributes
            else None
        )
        nn.init.normal_(self.class_logits.weight, std=0.01)
        nn.init.normal_(self.box_deltas.weight, std=0.001)
        nn.init.zeros_(self.class_logits.bias)
        nn.init.zeros_(self.box_deltas.bias)

    def _begin_from(self, path: Path) -> None:
        """Begin from torchvision's weights, whose stem sees other numbers: red first, from 0 to 1, normed.

        The first convolution and the mean of its batch norm are changed so that it computes the same
        from what this network sees, but for the outermost pixels. Strides lie elsewhere than there.
        """
        state = {k: v.clone() for k, v in read_state(path).items() if not k.startswith("fc.")}
        load_into(self.trunk, state, path, "a ResNet of these blocks")
        scale, shift = (torch.tensor(values).flip(0) for values in (DEVIATIONS, IMAGENET_MEANS))
        with torch.no_grad():
            weight = self.trunk.conv1.weight.flip(1) / (255 * scale).reshape(1, 3, 1, 1)
            self.trunk.conv1.weight.copy_(weight)
            gap = (255 * shift - self.means.flatten()).reshape(1, 3, 1, 1)
            self.trunk.bn1.running_mean += (weight * gap).sum((1, 2, 3))

    def map(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1024 h w"]:
        """Return the map of resized images, RGB from 0 to 255."""
        return self.trunk.map(pixels.flip(1) - self.means)

    def propose(
        self, pixels: Float[Tensor, "B 3 H W"], frames: Sequence[Frame], given: Sequence[Tensor | None]
    ) -> list[Proposals]:
        """Return what the model knows of the proposals, or of given boxes, of images of one size.

        Args:
            pixels: resized images, RGB from 0 to 255.
            frames: how each was resized.
            given: for each image boxes (K, 4) to take for proposals, in pixels of the photograph.
        """
        maps = self.map(pixels)
        boxes = [
            self._boxes(maps[n : n + 1], frame) if fixed is None else frame.to_resized(fixed)
            for n, (frame, fixed) in enumerate(zip(frames, given, strict=True))
        ]
        features = self.features(maps, boxes)
        logits = self.class_logits(features).float()
        deltas = self.box_deltas(features).float().reshape(len(features), -1, 4)
        attributes = self._attributes(features, logits.argmax(1))
        by = self.options
        regressions = [Regression(by.box_weights, by.limit, self.convention, frame) for frame in frames]
        return per_image(boxes, features, logits, deltas, attributes, regressions)

    def features(
        self, maps: Float[Tensor, "B 1024 h w"], boxes: Sequence[Float[Tensor, "N 4"]]
    ) -> Float[Tensor, "BN 2048"]:
        """Return the mean of the last stage over each pooled region, image after image."""
        image = [b.new_full((len(b), 1), n) for n, b in enumerate(boxes)]
        regions = torch.cat([torch.cat(image), torch.cat(list(boxes))], 1)
        pool, size = (roi_pool if self.options.pooling == "pool" else roi_align), self.options.pool_size
        maps = maps.float()  # pooling in half precision is not there on every device
        parts = [
            self.trunk.last_stage(pool(maps, part, size, 1 / STRIDE)).mean((2, 3))
            for part in torch.split(regions, CHUNK)
        ]
        return torch.cat(parts) if len(regions) else maps.new_zeros(0, FEATURE_SIZE)

    def _boxes(self, maps: Tensor, frame: Frame) -> Tensor:
        """Return proposals, or the whole image where it is too small to have any."""
        scores, deltas, anchors = self.rpn(maps)
        boxes, _ = self.rpn.propose(
            scores, deltas, anchors, size=frame.resized, scale=frame.scale[0], rule=self.options.rule
        )
        return boxes if len(boxes) else whole_image(boxes, frame, self.convention)

    def _attributes(self, features: Tensor, labels: Int[Tensor, " N"]) -> Float[Tensor, "N A1"] | None:
        if self.attribute_head is None:
            return None
        probabilities: Tensor = self.attribute_head(features, labels).float().softmax(1)
        return probabilities

    def losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the losses of proposals, classes, boxes and attributes, averaged over the images.

        Every image goes through the network by itself, as in the original; nothing is padded.

        Args:
            images: (3, H, W) each, RGB from 0 to 1.
            targets: per image ``boxes`` (M, 4), ``labels`` (M,) from 1, ``attributes`` (M, A + 1) bool.
        """
        each = [self._losses(image, target) for image, target in zip(images, targets, strict=True)]
        return {name: torch.stack([losses[name] for losses in each]).mean() for name in each[0]}

    def _losses(self, image: Tensor, target: dict[str, Tensor]) -> dict[str, Tensor]:
        pixels, frame = self.resize(image * 255)
        maps = self.map(pixels[None])
        # boxes that cover pixels x to x + w - 1; the original takes x + w, and shifts them when mirrored
        truth = frame.to_resized(target["boxes"])
        truth = torch.cat([truth[:, :2], truth[:, 2:] - self.convention.pixel], 1)
        scores, deltas, anchors = self.rpn(maps)
        score_loss, delta_loss = self.rpn.losses(scores, deltas, anchors, truth, frame.resized)
        losses = {"rpn_class": score_loss, "rpn_box": delta_loss}
        rule = replace(self.options.rule, before=12000, after=2000)
        proposals, _ = self.rpn.propose(
            scores, deltas, anchors, size=frame.resized, scale=frame.scale[0], rule=rule
        )
        boxes, labels, matched = self._sample(torch.cat([proposals, truth]), truth, target["labels"])
        features = self.features(maps, [boxes])
        losses["class"] = F.cross_entropy(self.class_logits(features).float(), labels)
        things = (labels > 0).nonzero().squeeze(1)
        moves = self.box_deltas(features[things]).float().reshape(len(things), -1, 4)
        wanted = self.convention.encode(
            boxes[things], truth[matched[things]], weights=self.options.box_weights
        )
        of_class = moves[torch.arange(len(things), device=moves.device), labels[things]]
        losses["box"] = F.smooth_l1_loss(of_class, wanted, reduction="sum") / max(1, len(labels))
        if self.attribute_head is not None:
            guess = self.attribute_head(features[things], labels[things]).float()
            losses["attribute"] = 0.5 * attribute_loss(guess, target["attributes"][matched[things]])
        return losses

    def _sample(
        self, boxes: Tensor, truth: Tensor, labels: Tensor
    ) -> tuple[Float[Tensor, "N 4"], Int[Tensor, " N"], Int[Tensor, " N"]]:
        """Draw regions to learn from: boxes, their classes (0 for background), their true boxes."""
        overlap, matched = self.convention.iou(boxes, truth).max(1)
        things = _draw((overlap >= 0.5).nonzero().squeeze(1), THINGS)
        others = _draw((overlap < 0.5).nonzero().squeeze(1), SAMPLED - len(things))
        index = torch.cat([things, others])
        wanted = labels[matched[index]].clone()
        wanted[len(things) :] = 0
        return boxes[index], wanted, matched[index]


def _draw(index: Int[Tensor, " N"], count: int) -> Int[Tensor, " M"]:
    return index[torch.randperm(len(index), device=index.device)[:count]]
