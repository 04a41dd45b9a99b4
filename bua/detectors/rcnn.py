"""Faster R-CNN over a feature pyramid, with attributes, that gives regions as well as detections.

Everything is torchvision's; this module joins the parts so that proposal, feature, class, box and
attributes of a region stay together, which ``torchvision.models.detection.FasterRCNN`` does not.
Shapes: N proposals, D numbers a feature, C classes with background at 0, A attributes.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from bua.detectors.attributes import AttributeHead, attribute_loss
from bua.detectors.backbone import NarrowPyramid
from bua.detectors.boxes import BoxConvention
from bua.detectors.proposals import Proposals, Regression, per_image, whole_image
from bua.detectors.resize import Frame, Resize, pad

Target = dict[str, Tensor]

#: ImageNet's means and deviations of red, green and blue, and the multiple that images are padded to.
MEANS, DEVIATIONS, DIVISOR = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 32
#: The largest logarithm of a size ratio that torchvision applies.
LIMIT = math.log(1000 / 16)


class PyramidRCNN(nn.Module):
    """Faster R-CNN with a feature pyramid, from torchvision's parts.

    Args:
        classes: names of classes, without background.
        attributes: names of attributes, without "no attribute"; empty without attribute head.
        resize: of photographs.
        backbone: maps images to maps by name.
        rpn: proposes.
        heads: pools, describes and classifies proposals.
        attribute_head: for the attributes, if there are any.
    """

    means: Tensor
    deviations: Tensor

    def __init__(
        self,
        *,
        classes: Sequence[str],
        attributes: Sequence[str],
        resize: Resize,
        backbone: nn.Module,
        rpn: RegionProposalNetwork,
        heads: RoIHeads,
        attribute_head: AttributeHead | None,
    ) -> None:
        super().__init__()
        self.classes, self.attributes = tuple(classes), tuple(attributes)
        self.resize, self.backbone, self.rpn, self.heads = resize, backbone, rpn, heads
        self.attribute_head = attribute_head
        self.feature_size: int = heads.box_predictor.cls_score.in_features
        for name, values in (("means", MEANS), ("deviations", DEVIATIONS)):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)

    def propose(
        self, pixels: Float[Tensor, "B 3 H W"], frames: Sequence[Frame], given: Sequence[Tensor | None]
    ) -> list[Proposals]:
        """Return what the model knows of the proposals, or of given boxes, of images of one size.

        Args:
            pixels: resized images, RGB from 0 to 255.
            frames: how each was resized.
            given: for each image boxes (K, 4) to take for proposals, in pixels of the photograph.
        """
        batch = ImageList(pad(self._normal(pixels / 255), DIVISOR), [frame.resized for frame in frames])
        maps = self.backbone(batch.tensors)
        boxes = self._boxes(batch, maps, frames, given)
        features = self._features(maps, boxes, batch.image_sizes)
        logits, deltas = self.heads.box_predictor(features)
        attributes = self._attributes(features, logits)
        weights = self.heads.box_coder.weights
        regressions = [Regression(weights, LIMIT, BoxConvention.MODERN, frame) for frame in frames]
        boxes = [each.float() for each in boxes]
        return per_image(boxes, features, logits, deltas.reshape(*logits.shape, 4), attributes, regressions)

    def _boxes(
        self, batch: ImageList, maps: Any, frames: Sequence[Frame], given: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """Return given boxes or proposals, or the whole image where it is too small to have any."""
        if all(fixed is not None for fixed in given):
            return [f.to_resized(fixed) for f, fixed in zip(frames, given, strict=True) if fixed is not None]
        proposed, _ = self._proposed(batch, maps, None)
        return [
            (boxes if len(boxes) else whole_image(boxes, frame, BoxConvention.MODERN))
            if fixed is None
            else frame.to_resized(fixed)
            for boxes, frame, fixed in zip(proposed, frames, given, strict=True)
        ]

    def _proposed(
        self, batch: ImageList, maps: dict[str, Tensor], targets: list[Target] | None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Propose in single precision: torchvision's anchors take the precision of the maps."""
        with torch.autocast(batch.tensors.device.type, enabled=False):
            full = {name: level.float() for name, level in maps.items()}
            found: tuple[list[Tensor], dict[str, Tensor]] = self.rpn(batch, full, targets)
        return found

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Return the losses of the proposal network, the classes, the boxes and the attributes.

        Args:
            images: (3, H, W) each, RGB from 0 to 1.
            targets: per image ``boxes`` (M, 4), ``labels`` (M,) from 1, ``attributes`` (M, A + 1) bool.
        """
        resized = [self.resize(self._normal(image)) for image in images]
        frames = [frame for _, frame in resized]
        scaled = [
            {**target, "boxes": frame.to_resized(target["boxes"])}
            for target, frame in zip(targets, frames, strict=True)
        ]
        batch = ImageList(_side_by_side([image for image, _ in resized]), [f.resized for f in frames])
        maps = self.backbone(batch.tensors)
        losses: dict[str, Tensor]
        proposals, losses = self._proposed(batch, maps, scaled)
        proposals, matched, labels, deltas = self.heads.select_training_samples(proposals, scaled)
        features = self._features(maps, proposals, batch.image_sizes)
        logits, boxes = self.heads.box_predictor(features)
        losses["class"], losses["box"] = fastrcnn_loss(logits, boxes, labels, deltas)
        if self.attribute_head is not None:
            pairs = zip(scaled, matched, strict=True)
            wanted = torch.cat([target["attributes"][index] for target, index in pairs])
            label = torch.cat(labels)
            real = label > 0
            guess = self.attribute_head(features[real], label[real])
            losses["attribute"] = 0.5 * attribute_loss(guess, wanted[real])
        return losses

    def _normal(self, images: Tensor) -> Tensor:
        normal: Tensor = (images - self.means) / self.deviations
        return normal

    def _attributes(self, features: Tensor, logits: Tensor) -> Float[Tensor, "N A1"] | None:
        """Return probabilities, those of a region seen as its best class."""
        if self.attribute_head is None:
            return None
        guess: Tensor = self.attribute_head(features, logits[:, 1:].argmax(1) + 1)
        return guess.float().softmax(1)

    def _features(
        self, maps: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> Float[Tensor, "N D"]:
        features: Tensor = self.heads.box_head(self.heads.box_roi_pool(maps, boxes, sizes))
        return features


class NarrowPyramidRCNN(PyramidRCNN):
    """A detector small enough to train on a laptop.

    Args:
        backbone: maps images to a pyramid of ``anchors`` many maps.
        classes: names of classes, without background.
        attributes: names of attributes, without "no attribute"; empty for no attribute head.
        anchors: side lengths of the anchors of each map, in pixels of the resized image.
        feature_size: size of the region feature, the last hidden layer of the box head.
        proposals: regions that the proposal network may pass on at inference.
        canonical_side: boxes from this side length on are pooled from the coarsest of three maps.
        side: the shorter side of an image is resized to this, the longer to at most ``longest``.
        longest: see ``side``.
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
        canonical_side: int,
        side: int,
        longest: int,
    ) -> None:
        channels, labels = backbone.out_channels, len(classes) + 1
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
            MultiScaleRoIAlign([str(n) for n in range(len(anchors))], 7, 2, canonical_scale=canonical_side),
            TwoMLPHead(channels * 49, feature_size),
            FastRCNNPredictor(feature_size, labels),
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
            resize=Resize(side=side, longest=longest, rule="torchvision"),
            backbone=backbone,
            rpn=rpn,
            heads=heads,
            attribute_head=attribute_head(
                feature_size, classes, attributes, embedding_size=32, hidden_size=128
            ),
        )


def attribute_head(
    feature_size: int,
    classes: Sequence[str],
    attributes: Sequence[str],
    *,
    embedding_size: int,
    hidden_size: int,
) -> AttributeHead | None:
    """Return an attribute head, or none where there are no attributes."""
    if not attributes:
        return None
    return AttributeHead(
        feature_size=feature_size,
        classes=len(classes) + 1,
        attributes=len(attributes),
        embedding_size=embedding_size,
        hidden_size=hidden_size,
    )


def _side_by_side(images: list[Tensor]) -> Float[Tensor, "B 3 H W"]:
    """Stack images of different sizes for training, with zeros below and to the right."""
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    batch = images[0].new_zeros(len(images), 3, height + -height % DIVISOR, width + -width % DIVISOR)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return batch
