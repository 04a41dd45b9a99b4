"""The region proposal network of the paper's detector (Ren et al. 2015; as released), and its anchors.

The anchors follow the arithmetic of the first Faster R-CNN release: starting from a square of 16 pixels,
boxes of three shapes with rounded sides, each in four sizes, shapes outermost. Their common center is that
of the pixels 0 to 15.

Shapes: h x w cells of the feature map, A = 12 anchors per cell, M = h w A anchors, N proposals, G objects.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher

from bua.detectors.boxes import BoxConvention
from bua.detectors.c4.trunk import MAP_SIZE, STRIDE

#: Ratios of height to width, factors of the size, and side length of the square.
RATIOS, SCALES, BASE_SIDE = (0.5, 1.0, 2.0), (4, 8, 16, 32), 16
#: Number of channels of the hidden layer.
HIDDEN_SIZE = 512


def base_anchors() -> Float[Tensor, "12 4"]:
    """Return the anchors of the first cell as x1 y1 x2 y2, with the last pixel included."""
    center, boxes = (BASE_SIDE - 1) / 2, []
    for ratio in RATIOS:
        width = np.round(np.sqrt(BASE_SIDE * BASE_SIDE / ratio))
        height = np.round(width * ratio)
        for scale in SCALES:
            dx, dy = (width * scale - 1) / 2, (height * scale - 1) / 2
            boxes.append([center - dx, center - dy, center + dx, center + dy])
    return torch.tensor(np.array(boxes), dtype=torch.float32)


def grid_anchors(base: Float[Tensor, "A 4"], height: int, width: int, stride: int) -> Float[Tensor, "M 4"]:
    """Return the anchors of every cell of a map, row by row, with those of a cell next to each other.

    Args:
        base: Anchors of the first cell.
        height: Number of rows of the map.
        width: Number of columns of the map.
        stride: Pixels of the image per cell.
    """
    y = torch.arange(height, device=base.device, dtype=base.dtype) * stride
    x = torch.arange(width, device=base.device, dtype=base.dtype) * stride
    y, x = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (shifts + base).reshape(-1, 4)


@dataclass(frozen=True)
class ProposalOptions:
    """Options for filtering anchors into proposals.

    Attributes:
        pre_nms_top_n: Number of best anchors that go into non-maximum suppression.
        post_nms_top_n: Number of best proposals that are kept after it.
        nms_iou: Overlap at which the worse of two boxes is dropped.
        min_side: Minimum side of a proposal in pixels of the original image. Smaller boxes are dropped before
            the best are taken; with 0, boxes without an area are dropped afterwards.
        max_log_scale: Upper limit for the logarithms of the size ratios, or None for no limit.
    """

    pre_nms_top_n: int
    post_nms_top_n: int
    nms_iou: float
    min_side: float
    max_log_scale: float | None


class ProposalNetwork(nn.Module):
    """Score anchors as background or object, with a softmax over the two, and regress them.

    Args:
        convention: Convention for box sizes.
    """

    anchors: Tensor

    def __init__(self, convention: BoxConvention) -> None:
        super().__init__()
        self.convention = convention
        self.register_buffer("anchors", base_anchors())
        count = len(self.anchors)
        self.conv = nn.Conv2d(MAP_SIZE, HIDDEN_SIZE, 3, padding=1)
        self.scores = nn.Conv2d(HIDDEN_SIZE, 2 * count, 1)  # background of all anchors, then object
        self.deltas = nn.Conv2d(HIDDEN_SIZE, 4 * count, 1)
        self.matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)
        self.sampler = BalancedPositiveNegativeSampler(64, 0.5)
        for name, parameter in self.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=0.01)

    def forward(
        self, maps: Float[Tensor, "1 1024 h w"]
    ) -> tuple[Float[Tensor, "M 2"], Float[Tensor, "M 4"], Float[Tensor, "M 4"]]:
        """Return the logits of background and object, the deltas, and the anchors for one image."""
        hidden = self.conv(maps).relu()
        height, width = maps.shape[2:]
        scores = self.scores(hidden).float().reshape(2, -1, height * width)
        deltas = self.deltas(hidden).float().reshape(-1, 4, height * width)
        anchors = grid_anchors(self.anchors, height, width, STRIDE)
        return scores.permute(2, 1, 0).reshape(-1, 2), deltas.permute(2, 0, 1).reshape(-1, 4), anchors

    @torch.no_grad()
    def propose(
        self,
        scores: Float[Tensor, "M 2"],
        deltas: Float[Tensor, "M 4"],
        anchors: Float[Tensor, "M 4"],
        *,
        size: tuple[int, int],
        scale: float,
        options: ProposalOptions,
    ) -> tuple[Float[Tensor, "N 4"], Float[Tensor, " N"]]:
        """Return proposals, best first, and their logits (object minus background).

        Args:
            scores: Logits of background and object of each anchor.
            deltas: Box deltas of each anchor.
            anchors: Anchors in pixels of the resized image.
            size: Height and width of the resized image.
            scale: Factor from the original to the resized image.
            options: Options for filtering.
        """
        logits = scores[:, 1] - scores[:, 0]
        boxes = self.convention.decode(anchors, deltas, max_log_scale=options.max_log_scale)
        boxes = self.convention.clip(boxes, size)
        width, height = self.convention.sizes(boxes)
        min_side = options.min_side * scale
        valid = (width >= min_side) & (height >= min_side) & (width > 0) & (height > 0) & logits.isfinite()
        if options.min_side:
            boxes, logits = boxes[valid], logits[valid]
        order = logits.argsort(descending=True, stable=True)[: options.pre_nms_top_n]
        if not options.min_side:
            order = order[valid[order]]
        boxes, logits = boxes[order], logits[order]
        kept = self.convention.nms(boxes, logits, options.nms_iou)[: options.post_nms_top_n]
        return boxes[kept], logits[kept]

    def losses(
        self,
        scores: Float[Tensor, "M 2"],
        deltas: Float[Tensor, "M 4"],
        anchors: Float[Tensor, "M 4"],
        truth: Float[Tensor, "G 4"],
        size: tuple[int, int],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the losses of scores and deltas over 64 sampled anchors that lie inside the image.

        Args:
            scores: Logits of background and object of each anchor.
            deltas: Box deltas of each anchor.
            anchors: Anchors in pixels of the resized image.
            truth: Annotated boxes in pixels of the resized image.
            size: Height and width of the resized image.
        """
        labels, matched = self._targets(anchors, truth, size)
        (positive,), (negative,) = self.sampler([labels])
        positives = positive.nonzero().squeeze(1)
        sampled = torch.cat([positives, negative.nonzero().squeeze(1)])
        score_loss = F.cross_entropy(scores[sampled], labels[sampled].long(), reduction="sum")
        targets = self.convention.encode(anchors[positives], truth[matched[positives]])
        beta = 1 / 9  # sigma 3
        delta_loss = F.smooth_l1_loss(deltas[positives], targets, beta=beta, reduction="sum")
        count = max(1, len(sampled))  # a very small image contains no anchor
        return score_loss / count, delta_loss / count

    def _targets(
        self, anchors: Tensor, truth: Tensor, size: tuple[int, int]
    ) -> tuple[Float[Tensor, " M"], Int[Tensor, " M"]]:
        """Return 1, 0 or -1 (ignored) for each anchor, and the index of the box it is matched with."""
        height, width = size
        x1, y1, x2, y2 = anchors.unbind(1)
        inside = (x1 >= 0) & (y1 >= 0) & (x2 < width) & (y2 < height)
        labels = anchors.new_full((len(anchors),), -1.0)
        matched = torch.zeros(len(anchors), dtype=torch.long, device=anchors.device)
        if inside.any():
            overlaps = self.convention.iou(truth, anchors[inside])
            matches = self.matcher(overlaps)
            inside_labels = (matches >= 0).float()
            inside_labels[matches == Matcher.BETWEEN_THRESHOLDS] = -1.0
            # An object that overlaps no anchor has them all as its best match, which teaches nothing.
            inside_labels[overlaps.amax(0) <= 0] = 0.0
            labels[inside], matched[inside] = inside_labels, matches.clamp(min=0)
        return labels, matched
