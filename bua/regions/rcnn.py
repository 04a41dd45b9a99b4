"""Faster R-CNN over a feature pyramid, with attributes, that gives regions as well as detections.

Everything is torchvision's; this module joins the parts so that proposal, feature, class and
attributes of a region stay together, which ``torchvision.models.detection.FasterRCNN`` does not.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchvision.models.detection import transform
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from bua.regions.attributes import AttributeHead, attribute_loss
from bua.regions.backbone import NarrowPyramid

Target = dict[str, Tensor]


class Proposals(NamedTuple):
    """The N proposals of one image; boxes are in pixels of the image given."""

    boxes: Float[Tensor, "N 4"]
    features: Float[Tensor, "N D"]
    probabilities: Float[Tensor, "N C"]  # background at 0
    attributes: Float[Tensor, "N A1"]  # probabilities, "no attribute" at 0


class PyramidRCNN(nn.Module):
    """Faster R-CNN with a feature pyramid and an attribute head.

    Args:
        backbone: maps images to a pyramid of ``anchors`` many maps.
        classes: names of classes, without background.
        attributes: names of attributes, without "no attribute".
        anchors: side lengths of the anchors of each map, in pixels of the resized image.
        feature_size: size of the region feature, the last hidden layer of the box head.
        proposals: regions that the proposal network may pass on at inference.
        canonical_side: boxes from this side length on are pooled from the coarsest of three maps.
        side: the shorter side of an image is resized to this, the longer to at most ``longest``.
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
        super().__init__()
        self.classes, self.attributes = tuple(classes), tuple(attributes)
        self.feature_size = feature_size
        channels, labels = backbone.out_channels, len(classes) + 1
        ratios = ((0.5, 1.0, 2.0),) * len(anchors)
        generator = AnchorGenerator(tuple(tuple(sizes) for sizes in anchors), ratios)
        self.transform = transform.GeneralizedRCNNTransform(
            side, longest, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        )
        self.backbone = backbone
        self.rpn = RegionProposalNetwork(
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
        self.heads = RoIHeads(
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
        self.attribute_head = AttributeHead(
            feature_size=feature_size,
            classes=labels,
            attributes=len(attributes),
            embedding_size=32,
            hidden_size=128,
        )

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Return the losses of the proposal network, the classes, the boxes and the attributes.

        Args:
            images: (3, H, W) each, 0 to 1.
            targets: per image ``boxes`` (M, 4), ``labels`` (M,) from 1, ``attributes`` (M, A + 1) bool.
        """
        batch, resized = self.transform(images, targets)
        maps = self.backbone(batch.tensors)
        losses: dict[str, Tensor]
        proposals, losses = self.rpn(batch, maps, resized)
        proposals, matched, labels, deltas = self.heads.select_training_samples(proposals, resized)
        features = self._features(maps, proposals, batch.image_sizes)
        logits, boxes = self.heads.box_predictor(features)
        losses["class"], losses["box"] = fastrcnn_loss(logits, boxes, labels, deltas)
        pairs = zip(resized, matched, strict=True)
        wanted = torch.cat([target["attributes"][index] for target, index in pairs])
        label = torch.cat(labels)
        real = label > 0
        guess = self.attribute_head(features[real], label[real])
        losses["attribute"] = 0.5 * attribute_loss(guess, wanted[real])
        return losses

    def propose(self, images: list[Tensor]) -> list[Proposals]:
        """Return what the model knows of every proposal of every image, best proposal first."""
        batch, maps, boxes = self._inference(images)
        features = self._features(maps, boxes, batch.image_sizes)
        logits, _ = self.heads.box_predictor(features)
        attributes = self.attribute_head(features, logits[:, 1:].argmax(1) + 1)
        counts = [len(b) for b in boxes]
        return [
            Proposals(transform.resize_boxes(b, size, image.shape[-2:]), f, p, a)
            for b, size, image, f, p, a in zip(
                boxes,
                batch.image_sizes,
                images,
                torch.split(features, counts),
                torch.split(logits.softmax(1), counts),
                torch.split(attributes.softmax(1), counts),
                strict=True,
            )
        ]

    def detect(self, images: list[Tensor]) -> list[Target]:
        """Return detections with regressed boxes: ``boxes``, ``labels`` from 1, ``scores`` each."""
        batch, maps, boxes = self._inference(images)
        features = self._features(maps, boxes, batch.image_sizes)
        found = self.heads.postprocess_detections(
            *self.heads.box_predictor(features), boxes, batch.image_sizes
        )
        return [
            {"boxes": transform.resize_boxes(b, size, image.shape[-2:]), "scores": s, "labels": labels}
            for b, s, labels, size, image in zip(*found, batch.image_sizes, images, strict=True)
        ]

    def _inference(self, images: list[Tensor]) -> tuple[transform.ImageList, dict[str, Tensor], list[Tensor]]:
        batch, _ = self.transform(images)
        maps = self.backbone(batch.tensors)
        return batch, maps, self.rpn(batch, maps)[0]

    def _features(
        self, maps: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> Float[Tensor, "N D"]:
        features: Tensor = self.heads.box_head(self.heads.box_roi_pool(maps, boxes, sizes))
        return features


def class_and_attribute(proposals: Proposals) -> dict[str, Int[Tensor, " N"] | Float[Tensor, " N"]]:
    """Return the best class and attribute of each proposal and their probabilities, for the store."""
    class_score, class_id = proposals.probabilities[:, 1:].max(1)
    attribute_score, attribute_id = proposals.attributes[:, 1:].max(1)
    return {
        "class_id": class_id,
        "class_score": class_score,
        "attribute_id": attribute_id,
        "attribute_score": attribute_score,
    }
