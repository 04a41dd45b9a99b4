"""Where words and boxes stand, as sinusoids.

Shapes: B images, K regions (padded), L layers, H heads, W two waves a frequency.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

#: Frequencies for each of the four relations of two boxes.
FREQUENCIES = 8
#: Distances and sizes below this share of a box, or of the image, count as this.
SMALLEST = 1e-3


def sinusoids(values: Float[Tensor, "*S"], frequencies: int, longest: float) -> Float[Tensor, "*S W"]:
    """Return sine and cosine of numbers at wave lengths from 2 pi to nearly 2 pi ``longest``.

    Source: Vaswani et al. 2017, section 3.5; here all sines come before all cosines.
    """
    exponents = torch.arange(frequencies, device=values.device, dtype=values.dtype) / frequencies
    angles = values.unsqueeze(-1) / longest**exponents
    return torch.cat([angles.sin(), angles.cos()], -1)


def relations(boxes: Float[Tensor, "B K 4"]) -> Float[Tensor, "B K K 4"]:
    """Return how far each box is from each other one, and how much larger.

    For boxes m and n with centre x, y, width w and height h (Herdade et al. 2019, section 3.2) ::

        log |xm - xn| / wm, log |ym - yn| / hm, log wn / wm, log hn / hm

    Moving or scaling all boxes alike changes none of them. As in the authors' code, distances are
    at least ``SMALLEST`` box widths or heights; sizes are at least that share of the image.
    """
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=SMALLEST)
    distance = (centre.unsqueeze(2) - centre.unsqueeze(1)).abs() / size.unsqueeze(2)
    ratio = size.unsqueeze(1) / size.unsqueeze(2)
    return torch.cat([distance.clamp(min=SMALLEST), ratio], -1).log()


class BoxGeometry(nn.Module):
    """How much regions heed each other by where they are (Herdade et al. 2019, section 3.2).

    For each layer and head the weight of region n for region m is ReLU(W Emb(relation of m and n));
    it multiplies the exponential of their score, so its logarithm is added to the score. The
    embedding is of 64 sinusoids of 100 times the relations, and weights are at least 1e-6, as in
    the authors' code.

    Args:
        layers: of the encoder.
        heads: of each layer.
    """

    def __init__(self, *, layers: int, heads: int) -> None:
        super().__init__()
        self.shape = (layers, heads)
        self.weight = nn.Linear(8 * FREQUENCIES, layers * heads)

    def forward(self, boxes: Float[Tensor, "B K 4"]) -> Float[Tensor, "B L H K K"]:
        """Return what is added to the scores of every layer and head."""
        embedding = sinusoids(100 * relations(boxes), FREQUENCIES, 1000.0).flatten(-2)
        added: Tensor = self.weight(embedding).relu().clamp(min=1e-6).log()
        return added.view(*added.shape[:3], *self.shape).permute(0, 3, 4, 1, 2)
