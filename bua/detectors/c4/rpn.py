"""The region proposal network of the paper's detector (Ren et al. 2015; detector as released).

Shapes: A = 12 anchors a cell, N proposals.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher

from bua.detectors.boxes import BoxConvention
from bua.detectors.c4.anchors import base_anchors, grid_anchors
from bua.detectors.c4.trunk import MAP_SIZE, STRIDE

HIDDEN = 512


@dataclass(frozen=True)
class ProposalRule:
    """Which anchors become proposals.

    Attributes:
        before: so many of the best go into suppression.
        after: so many of the best come out of it.
        nms_iou: overlap at which the worse box goes.
        min_side: in pixels of the photograph; smaller boxes go before the first cut. 0 keeps all
            that have an area.
        limit: the largest logarithm of a size applied; none for no limit.
    """

    before: int
    after: int
    nms_iou: float
    min_side: float
    limit: float | None


class ProposalNetwork(nn.Module):
    """Scores anchors as background or thing with a softmax over the two, and moves them.

    Args:
        convention: of box sizes.
    """

    anchors: Tensor

    def __init__(self, convention: BoxConvention) -> None:
        super().__init__()
        self.convention = convention
        self.register_buffer("anchors", base_anchors())
        count = len(self.anchors)
        self.conv = nn.Conv2d(MAP_SIZE, HIDDEN, 3, padding=1)
        self.scores = nn.Conv2d(HIDDEN, 2 * count, 1)  # background of all anchors, then thing
        self.deltas = nn.Conv2d(HIDDEN, 4 * count, 1)
        self.matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)
        self.sampler = BalancedPositiveNegativeSampler(64, 0.5)
        for name, parameter in self.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=0.01)

    def forward(
        self, maps: Float[Tensor, "1 1024 h w"]
    ) -> tuple[Float[Tensor, "hwA 2"], Float[Tensor, "hwA 4"], Float[Tensor, "hwA 4"]]:
        """Return logits of background and thing, deltas, and the anchors of the map of one image."""
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
        rule: ProposalRule,
    ) -> tuple[Float[Tensor, "N 4"], Float[Tensor, " N"]]:
        """Return proposals, best first, and their logits (thing minus background).

        Args:
            scores: logits of the anchors.
            deltas: of the anchors.
            anchors: in pixels of the resized image.
            size: height and width of the resized image.
            scale: from the photograph to it.
            rule: which to keep.
        """
        logits = scores[:, 1] - scores[:, 0]
        boxes = self.convention.clip(self.convention.decode(anchors, deltas, limit=rule.limit), size)
        width, height = self.convention.sizes(boxes)
        least = rule.min_side * scale
        sound = (width >= least) & (height >= least) & (width > 0) & (height > 0) & logits.isfinite()
        if rule.min_side:
            boxes, logits = boxes[sound], logits[sound]
        order = logits.argsort(descending=True, stable=True)[: rule.before]
        if not rule.min_side:
            order = order[sound[order]]
        boxes, logits = boxes[order], logits[order]
        kept = self.convention.nms(boxes, logits, rule.nms_iou)[: rule.after]
        return boxes[kept], logits[kept]

    def losses(
        self,
        scores: Float[Tensor, "M 2"],
        deltas: Float[Tensor, "M 4"],
        anchors: Float[Tensor, "M 4"],
        truth: Float[Tensor, "G 4"],
        size: tuple[int, int],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the losses of scores and deltas over 64 sampled anchors that lie in the image."""
        labels, matched = self._targets(anchors, truth, size)
        (positive,), (negative,) = self.sampler([labels])
        sampled = torch.cat([positive.nonzero().squeeze(1), negative.nonzero().squeeze(1)])
        score_loss = F.cross_entropy(scores[sampled], labels[sampled].long(), reduction="sum")
        things = positive.nonzero().squeeze(1)
        wanted = self.convention.encode(anchors[things], truth[matched[things]])
        beta = 1 / 9  # sigma 3
        delta_loss = F.smooth_l1_loss(deltas[things], wanted, beta=beta, reduction="sum")
        count = max(1, len(sampled))  # no anchor lies in a very small image
        return score_loss / count, delta_loss / count

    def _targets(
        self, anchors: Tensor, truth: Tensor, size: tuple[int, int]
    ) -> tuple[Float[Tensor, " M"], Int[Tensor, " M"]]:
        """Return 1, 0 or -1 (ignored) for each anchor, and the box it is matched with."""
        height, width = size
        x1, y1, x2, y2 = anchors.unbind(1)
        inside = (x1 >= 0) & (y1 >= 0) & (x2 < width) & (y2 < height)
        labels = anchors.new_full((len(anchors),), -1.0)
        matched = torch.zeros(len(anchors), dtype=torch.long, device=anchors.device)
        if inside.any():
            overlaps = self.convention.iou(truth, anchors[inside])
            found = self.matcher(overlaps)
            inner = (found >= 0).float()
            inner[found == Matcher.BETWEEN_THRESHOLDS] = -1.0
            # a thing that no anchor meets has all of them for its best, which teaches nothing
            inner[overlaps.amax(0) <= 0] = 0.0
            labels[inside], matched[inside] = inner, found.clamp(min=0)
        return labels, matched
