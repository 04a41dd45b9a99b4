"""Counting what a question asks for (Zhang et al. 2018, "Learning to Count Objects in Natural Images").

A soft attention that is normalised cannot count: two cats weigh half as much each as one. This module
takes the scores before the softmax and the boxes, and takes care that a thing that several boxes show
counts once.

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
#: Learnt functions of the paper's section 4: f_1 to f_8.
FUNCTIONS = 8


class PiecewiseLinear(nn.Module):
    """A learnt increasing function with f(0) = 0 and f(1) = 1, linear in pieces (section 4.3).

    The first weight is the height at 0: it begins as 0, where its gradient is 0, too.
    """

    def __init__(self, pieces: int = PIECES) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.pad(torch.ones(pieces), (1, 0)))

    def forward(self, x: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Return the value at numbers from 0 to 1."""
        widths = self.weight.abs() / self.weight.abs().sum()
        heights, pieces = widths.cumsum(0), len(widths) - 1
        place = x * pieces
        piece = place.detach().long().clamp(0, pieces - 1)
        return heights[piece] + (place - piece) * widths[piece + 1]


class Counter(nn.Module):
    """How many of the regions' things are meant, as a soft one-hot vector over 0 to N.

    Args:
        objects: N, so many regions, those of highest score (of equal ones, any), are looked at.

    Raises:
        ValueError: N is below 1.
    """

    def __init__(self, *, objects: int) -> None:
        super().__init__()
        check_integer("objects", objects, 1)
        self.objects = objects
        self.f = nn.ModuleList([PiecewiseLinear() for _ in range(FUNCTIONS)])

    @property
    def size(self) -> int:
        """Of what it returns, A."""
        return self.objects + 1

    def forward(
        self, boxes: Float[Tensor, "B K 4"], scores: Float[Tensor, "B K"], mask: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B A"]:
        """Return the count, times the confidence in it.

        Args:
            boxes: corners x1 y1 x2 y2.
            scores: of the regions, before any softmax.
            mask: true where there is a region.
        """
        weights, boxes = self._most_important(boxes, scores.float().sigmoid(), mask)
        together, apart = outer(weights), 1 - iou(boxes)
        # equations 3 and 4: edges within a thing go
        edges = self.f[0](together) * self.f[1](apart)
        # equations 5 to 7: of alike nodes, each counts its share
        share = self._alike(self.f[3](together) * self.f[4](apart), weights).sum(2)
        loops = self.f[0](weights * weights) / share
        total = (edges / outer(share)).sum((1, 2)) + loops.sum(1)
        count = (total + 1e-20).sqrt().clamp(max=self.objects)
        places = torch.arange(self.size, device=count.device)
        one_hot = (1 - (count.unsqueeze(1) - places).abs()).clamp(min=0)
        unsure = (self.f[5](weights) - 0.5).abs().mean(1) + (self.f[6](apart) - 0.5).abs().mean((1, 2))
        counted: Tensor = one_hot * self.f[7](unsure).unsqueeze(1)
        return counted.to(scores)

    def _most_important(
        self, boxes: Float[Tensor, "B K 4"], weights: Float[Tensor, "B K"], mask: Bool[Tensor, "B K"]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N 4"]]:
        """Return weights and boxes of N regions; zeros where an image has fewer."""
        missing = max(self.objects - weights.shape[1], 0)
        weights = F.pad(weights.masked_fill(~mask, 0), (0, missing))
        boxes = F.pad(boxes.float().masked_fill(~mask.unsqueeze(2), 0), (0, 0, 0, missing))
        best, where = weights.topk(self.objects, 1)
        return best, boxes.gather(1, where.unsqueeze(2).expand(-1, -1, 4))

    def _alike(self, edges: Float[Tensor, "B N N"], weights: Float[Tensor, "B N"]) -> Float[Tensor, "B N N"]:
        """Return how alike two regions are, in what they are connected with and in their weights."""
        different = (edges.unsqueeze(3) - edges.unsqueeze(2)).abs()
        same = (1 - (weights.unsqueeze(2) - weights.unsqueeze(1)).abs()).clamp(min=0)
        alike: Tensor = self.f[2](1 - different).prod(1) * self.f[2](same)
        return alike


class Counts(nn.Module):
    """A counter, and a layer that makes what it says as large as what it is added to.

    Args:
        counter: counts.
        size: H.
    """

    def __init__(self, counter: Counter, size: int) -> None:
        super().__init__()
        self.counter = counter
        self.layer = WeightNormLayers().nonlinear(counter.size, size)

    def forward(self, regions: RegionBatch, scores: Float[Tensor, "B K"]) -> Float[Tensor, "B H"]:
        """Return what is to be added."""
        counted: Tensor = self.layer(self.counter(regions.boxes, scores, regions.mask))
        return counted


def outer(x: Float[Tensor, "B N"]) -> Float[Tensor, "B N N"]:
    """Return the products of all pairs."""
    return x.unsqueeze(2) * x.unsqueeze(1)


def iou(boxes: Float[Tensor, "B N 4"]) -> Float[Tensor, "B N N"]:
    """Return intersection over union of all pairs; 0 of a box without area."""
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    return shared / (area.unsqueeze(2) + area.unsqueeze(1) - shared + 1e-12)
