"""Faster R-CNN over a feature pyramid, with attributes, that predicts regions as well as detections.

The parts are torchvision's. Unlike ``torchvision.models.detection.FasterRCNN``, this module keeps the
proposal, feature, class, box and attributes of every region together.

Shapes: B images, N regions, M annotated objects, D numbers a feature, C classes with background at 0,
A attributes, with "no attribute" as an additional one at 0.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork

from bua.detectors.boxes import BoxConvention
from bua.detectors.photo import Resize, ResizeGeometry, pad
from bua.detectors.selection import BoxRegression, Proposals, split_by_image, whole_image_box

Target = dict[str, Tensor]

#: ImageNet's means and standard deviations of red, green and blue, for values from 0 to 1.
IMAGENET_MEANS, IMAGENET_DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Image sides are padded to a multiple of this.
SIZE_DIVISOR = 32
#: torchvision's upper limit for the logarithm of a size ratio.
MAX_LOG_SCALE = math.log(1000 / 16)


class AttributeHead(nn.Module):
    """Predict the attributes of a region from its feature and an embedding of its class.

    This is the attribute head of the Visual Genome detector (Anderson et al. 2018, section 3.1).

    Args:
        feature_size: Size D of a region feature.
        classes: Number C of classes, including background.
        attributes: Number A of attributes, without "no attribute".
        embedding_size: Size of the class embedding.
        hidden_size: Size of the hidden layer.
    """

    def __init__(
        self, *, feature_size: int, classes: int, attributes: int, embedding_size: int, hidden_size: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, embedding_size)
        self.hidden = nn.Linear(feature_size + embedding_size, hidden_size)
        self.logits = nn.Linear(hidden_size, attributes + 1)

    def forward(self, features: Float[Tensor, "N D"], labels: Int[Tensor, " N"]) -> Float[Tensor, "N A1"]:
        """Return logits over "no attribute" and the A attributes.

        Args:
            features: Region features.
            labels: Class of each region; background is 0.
        """
        inputs = torch.cat([features, self.embedding(labels)], 1)
        logits: Tensor = self.logits(self.hidden(inputs).relu())
        return logits


def build_attribute_head(
    feature_size: int,
    classes: Sequence[str],
    attributes: Sequence[str],
    *,
    embedding_size: int,
    hidden_size: int,
) -> AttributeHead | None:
    """Return an attribute head, or None if there are no attributes."""
    if not attributes:
        return None
    return AttributeHead(
        feature_size=feature_size,
        classes=len(classes) + 1,
        attributes=len(attributes),
        embedding_size=embedding_size,
        hidden_size=hidden_size,
    )


def attribute_loss(logits: Float[Tensor, "N A1"], targets: Bool[Tensor, "N A1"]) -> Float[Tensor, ""]:
    """Average -log p over the attributes of each region, then over the regions that have any.

    This is how the released detector extends the softmax loss to several labels per region. There, and in
    the targets of ``bua.data.detection.dataset``, an object that was annotated as having no attribute has
    the label 0 ("no attribute") and contributes to the loss; a region without any label is ignored.

    Args:
        logits: Logits over "no attribute" and the attributes.
        targets: Whether each region has each attribute.

    Returns:
        The loss, or 0 if no region has a label.
    """
    nll = -logits.log_softmax(1)
    count = targets.sum(1)
    per_region = nll.masked_fill(~targets, 0).sum(1) / count.clamp(min=1)
    return per_region.sum() / (count > 0).sum().clamp(min=1)


class PyramidRCNN(nn.Module):
    """Faster R-CNN with a feature pyramid, assembled from torchvision's parts.

    Args:
        classes: Names of the classes, without background.
        attributes: Names of the attributes, without "no attribute"; empty for no attribute head.
        resize: Rule by which images are resized.
        backbone: Module that maps images to feature maps by name.
        rpn: Region proposal network.
        heads: Heads that pool, describe and classify the proposals.
        attribute_head: Head that predicts attributes, or None.
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
        for name, values in (("means", IMAGENET_MEANS), ("deviations", IMAGENET_DEVIATIONS)):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)

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
        images = pad(self._normalize(pixels / 255), SIZE_DIVISOR)
        batch = ImageList(images, [geometry.resized_size for geometry in geometries])
        maps = self.backbone(batch.tensors)
        boxes = self._boxes(batch, maps, geometries, given)
        features = self._features(maps, boxes, batch.image_sizes)
        logits, deltas = self.heads.box_predictor(features)
        attributes = self._attributes(features, logits)
        weights = self.heads.box_coder.weights
        regressions = [
            BoxRegression(weights, MAX_LOG_SCALE, BoxConvention.MODERN, geometry) for geometry in geometries
        ]
        boxes = [image_boxes.float() for image_boxes in boxes]
        deltas = deltas.reshape(*logits.shape, 4)
        return split_by_image(boxes, features, logits, deltas, attributes, regressions)

    def _boxes(
        self,
        batch: ImageList,
        maps: Any,
        geometries: Sequence[ResizeGeometry],
        given: Sequence[Tensor | None],
    ) -> list[Tensor]:
        """Return the given boxes or the proposals, or the whole image if it is too small to have any."""
        if all(boxes is not None for boxes in given):
            pairs = zip(geometries, given, strict=True)
            return [geometry.to_resized(boxes) for geometry, boxes in pairs if boxes is not None]
        proposed, _ = self._run_rpn(batch, maps, None)
        return [
            (boxes if len(boxes) else whole_image_box(boxes, geometry, BoxConvention.MODERN))
            if given_boxes is None
            else geometry.to_resized(given_boxes)
            for boxes, geometry, given_boxes in zip(proposed, geometries, given, strict=True)
        ]

    def _run_rpn(
        self, batch: ImageList, maps: dict[str, Tensor], targets: list[Target] | None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Propose in single precision, because torchvision's anchors have the precision of the maps."""
        with torch.autocast(batch.tensors.device.type, enabled=False):
            full = {name: level.float() for name, level in maps.items()}
            proposals_and_losses: tuple[list[Tensor], dict[str, Tensor]] = self.rpn(batch, full, targets)
        return proposals_and_losses

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Return the losses of the proposal network, the classes, the boxes and the attributes.

        Args:
            images: Images of any size, shape (3, H, W) each, RGB from 0 to 1.
            targets: For each image ``boxes`` (M, 4) in pixels, ``labels`` (M,) counted from 1, and boolean
                ``attributes`` (M, A + 1).
        """
        resized = [self.resize(self._normalize(image)) for image in images]
        geometries = [geometry for _, geometry in resized]
        scaled = [
            {**target, "boxes": geometry.to_resized(target["boxes"])}
            for target, geometry in zip(targets, geometries, strict=True)
        ]
        padded = _pad_to_largest([image for image, _ in resized])
        batch = ImageList(padded, [geometry.resized_size for geometry in geometries])
        maps = self.backbone(batch.tensors)
        losses: dict[str, Tensor]
        proposals, losses = self._run_rpn(batch, maps, scaled)
        proposals, matched, labels, deltas = self.heads.select_training_samples(proposals, scaled)
        features = self._features(maps, proposals, batch.image_sizes)
        logits, predicted_deltas = self.heads.box_predictor(features)
        losses["class"], losses["box"] = fastrcnn_loss(logits, predicted_deltas, labels, deltas)
        if self.attribute_head is not None:
            pairs = zip(scaled, matched, strict=True)
            attributes = torch.cat([target["attributes"][index] for target, index in pairs])
            label = torch.cat(labels)
            foreground = label > 0
            attribute_logits = self.attribute_head(features[foreground], label[foreground])
            losses["attribute"] = 0.5 * attribute_loss(attribute_logits, attributes[foreground])
        return losses

    def _normalize(self, images: Tensor) -> Tensor:
        normalized: Tensor = (images - self.means) / self.deviations
        return normalized

    def _attributes(self, features: Tensor, logits: Tensor) -> Float[Tensor, "N A1"] | None:
        """Return attribute probabilities, given the most probable class of each region."""
        if self.attribute_head is None:
            return None
        attribute_logits: Tensor = self.attribute_head(features, logits[:, 1:].argmax(1) + 1)
        return attribute_logits.float().softmax(1)

    def _features(
        self, maps: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> Float[Tensor, "N D"]:
        features: Tensor = self.heads.box_head(self.heads.box_roi_pool(maps, boxes, sizes))
        return features


def _pad_to_largest(images: list[Tensor]) -> Float[Tensor, "B 3 H W"]:
    """Stack images of different sizes for training, zero-padded below and on the right."""
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    height, width = height + -height % SIZE_DIVISOR, width + -width % SIZE_DIVISOR
    batch = images[0].new_zeros(len(images), 3, height, width)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return batch
