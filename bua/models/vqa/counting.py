"""The counting module (Zhang et al. 2018, "Learning to Count Objects in Natural Images for VQA").

Normalized soft attention cannot count: each of two cats gets half the weight of one. The module takes the
attention scores before the softmax and the boxes, and counts an object once even if several boxes show it.

Shapes: B questions, K regions (padded), N objects, A = N + 1 counts, H hidden.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from bua.errors import check_integer
from bua.models.layers import WeightNormLayers
from bua.structures.region_batch import RegionBatch

#: Pieces of a piecewise linear function.
PIECES = 16
#: Number of learned functions, f_1 to f_8.
FUNCTIONS = 8


class PiecewiseLinear(nn.Module):
    """A learned increasing piecewise linear function with f(0) = 0 and f(1) = 1 (section 4.3).

    The first weight is the value at 0. It starts at 0, where its gradient is 0, too.
    """

    def __init__(self, pieces: int = PIECES) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.pad(torch.ones(pieces), (1, 0)))

    def forward(self, x: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Return the values at numbers from 0 to 1."""
        widths = self.weight.abs() / self.weight.abs().sum()
        heights, pieces = widths.cumsum(0), len(widths) - 1
        position = x * pieces
        piece = position.detach().long().clamp(0, pieces - 1)
        return heights[piece] + (position - piece) * widths[piece + 1]


class Counter(nn.Module):
    """The number of objects that a question asks for, as a soft one-hot vector over 0 to N (section 4).

    For the N regions with the largest scores, with weights a_i = sigmoid(score_i) and boxes b_i ::

        A_ij   = a_i a_j
        D_ij   = 1 - IoU(b_i, b_j)                                          (3)
        E      = f_1(A) * f_2(D)                                            (4)
        X      = f_4(A) * f_5(D)
        sim_ij = f_3(1 - |a_i - a_j|) prod_k f_3(1 - |X_ik - X_jk|)         (5)
        s_i    = 1 / sum_j sim_ij                                           (6)
        C      = E * (s s^T) + diag(s * f_1(a * a))                         (7)
        c      = sqrt(sum_ij C_ij)
        o_n    = max(0, 1 - |c - n|), n = 0, ..., N
        p      = mean_i |f_6(a_i) - 0.5| + mean_ij |f_7(D_ij) - 0.5|

    and the result is f_8(p) o. E removes edges between regions of the same object, s scales down regions that
    show the same object, and f_8(p) is the confidence in the count.

    Args:
        objects: N, the number of regions that are considered: those with the largest scores, ties being
            broken arbitrarily.

    Raises:
        ValueError: If N is below 1.
    """

    def __init__(self, *, objects: int) -> None:
        super().__init__()
        check_integer("objects", objects, 1)
        self.objects = objects
        self.f = nn.ModuleList([PiecewiseLinear() for _ in range(FUNCTIONS)])

    @property
    def size(self) -> int:
        """Size of the result, A."""
        return self.objects + 1

    def forward(
        self, boxes: Float[Tensor, "B K 4"], scores: Float[Tensor, "B K"], mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B A"]:
        """Return f_8(p) o.

        Args:
            boxes: Corners x1 y1 x2 y2.
            scores: Attention scores of the regions, before a softmax.
            mask: True where a region is real.
        """
        f1, f2, f3, f4, f5, f6, f7, f8 = self.f
        a, boxes = self._top_regions(boxes, scores.float().sigmoid(), mask)
        attention, distance = outer(a), 1 - pairwise_iou(boxes)
        # (4): E = f_1(A) * f_2(D)
        edges = f1(attention) * f2(distance)
        # (5): sim_ij = f_3(1 - |a_i - a_j|) prod_k f_3(1 - |X_ik - X_jk|)
        x = f4(attention) * f5(distance)
        difference = (x.unsqueeze(3) - x.unsqueeze(2)).abs()
        same_weight = (1 - (a.unsqueeze(2) - a.unsqueeze(1)).abs()).clamp(min=0)
        similarity = f3(1 - difference).prod(1) * f3(same_weight)
        # (6), (7): s_i = 1 / sum_j sim_ij, C = E * (s s^T) + diag(s * f_1(a * a))
        duplicates = similarity.sum(2)
        loops = f1(a * a) / duplicates
        total = (edges / outer(duplicates)).sum((1, 2)) + loops.sum(1)
        # c = sqrt(sum_ij C_ij), o_n = max(0, 1 - |c - n|)
        count = (total + 1e-20).sqrt().clamp(max=self.objects)
        n = torch.arange(self.size, device=count.device)
        one_hot = (1 - (count.unsqueeze(1) - n).abs()).clamp(min=0)
        # p = mean_i |f_6(a_i) - 0.5| + mean_ij |f_7(D_ij) - 0.5|
        confidence = (f6(a) - 0.5).abs().mean(1) + (f7(distance) - 0.5).abs().mean((1, 2))
        out: Tensor = one_hot * f8(confidence).unsqueeze(1)
        return out.to(scores)

    def _top_regions(
        self, boxes: Float[Tensor, "B K 4"], weights: Float[Tensor, "B K"], mask: Bool[Tensor, "B K"]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N 4"]]:
        """Return weights and boxes of the N regions with the largest weights; zeros if there are fewer."""
        missing = max(self.objects - weights.shape[1], 0)
        weights = F.pad(weights.masked_fill(~mask, 0), (0, missing))
        boxes = F.pad(boxes.float().masked_fill(~mask.unsqueeze(2), 0), (0, 0, 0, missing))
        best, index = weights.topk(self.objects, 1)
        return best, boxes.gather(1, index.unsqueeze(2).expand(-1, -1, 4))


class CountLayer(nn.Module):
    """A counting module and a layer that projects its result to the size of the vector it is added to.

    Args:
        counter: Counting module.
        size: H.
    """

    def __init__(self, counter: Counter, size: int) -> None:
        super().__init__()
        self.counter = counter
        self.layer = WeightNormLayers().nonlinear(counter.size, size)

    def forward(self, regions: RegionBatch, scores: Float[Tensor, "B K"]) -> Float[Tensor, "B H"]:
        """Return the count features from the boxes and the attention scores of the regions."""
        counts: Tensor = self.layer(self.counter(regions.boxes, scores, regions.mask))
        return counts


def outer(x: Float[Tensor, "B N"]) -> Float[Tensor, "B N N"]:
    """Return the products of all pairs."""
    return x.unsqueeze(2) * x.unsqueeze(1)


def pairwise_iou(boxes: Float[Tensor, "B N 4"]) -> Float[Tensor, "B N N"]:
    """Return the intersection over union of all pairs of boxes; 0 for a box without area."""
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    return intersection / (area.unsqueeze(2) + area.unsqueeze(1) - intersection + 1e-12)
