"""Positions of words and boxes as sinusoids.

Shapes: B images, K regions (padded), L layers, H heads, W = 2 waves per frequency.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

#: Frequencies for each of the four components of the displacement between two boxes.
FREQUENCIES = 8
#: Smallest distance between boxes, relative to a box, and smallest size of a box, relative to the image.
MIN_RATIO = 1e-3


def sinusoids(values: Float[Tensor, "*S"], frequencies: int, longest: float) -> Float[Tensor, "*S W"]:
    """Return sines and cosines of numbers at several wavelengths (Vaswani et al. 2017, section 3.5).

    Unlike in the paper, all sines come before all cosines.

    Args:
        values: Numbers to encode.
        frequencies: Number of wavelengths.
        longest: The wavelengths form a geometric progression from 2 pi to almost 2 pi times this.
    """
    exponents = torch.arange(frequencies, device=values.device, dtype=values.dtype) / frequencies
    angles = values.unsqueeze(-1) / longest**exponents
    return torch.cat([angles.sin(), angles.cos()], -1)


def box_displacements(boxes: Float[Tensor, "B K 4"]) -> Float[Tensor, "B K K 4"]:
    """Return the geometric displacement of every pair of boxes (Herdade et al. 2019, section 3.2).

    For boxes m and n with center (x, y), width w and height h ::

        lambda(m, n) = (log |x_m - x_n| / w_m, log |y_m - y_n| / h_m, log w_n / w_m, log h_n / h_m)

    It does not change when all boxes are moved or scaled together. As in the authors' code, distances are
    at least ``MIN_RATIO`` of the width or height of box m; sizes are at least ``MIN_RATIO`` of the image.
    """
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=MIN_RATIO)
    distance = (center.unsqueeze(2) - center.unsqueeze(1)).abs() / size.unsqueeze(2)
    ratio = size.unsqueeze(1) / size.unsqueeze(2)
    return torch.cat([distance.clamp(min=MIN_RATIO), ratio], -1).log()


class BoxGeometry(nn.Module):
    """Geometric attention between regions (Herdade et al. 2019, section 3.2).

    Every layer and head has a weight matrix W_G. The attention of region m to region n is ::

        omega_G(m, n) = ReLU(Emb(lambda(m, n)) W_G)
        omega(m, n)   = omega_G(m, n) exp(omega_A(m, n)) / sum_l omega_G(m, l) exp(omega_A(m, l))

    where omega_A are the scores of scaled dot-product attention, so log omega_G is added to the scores. As in
    the authors' code, Emb consists of 64 sinusoids of 100 lambda, and omega_G is at least 1e-6.

    Args:
        layers: L, number of encoder layers.
        heads: H, number of heads per layer.
    """

    def __init__(self, *, layers: int, heads: int) -> None:
        super().__init__()
        self.shape = (layers, heads)
        self.weight = nn.Linear(8 * FREQUENCIES, layers * heads)

    def forward(self, boxes: Float[Tensor, "B K 4"]) -> Float[Tensor, "B L H K K"]:
        """Return log omega_G for every layer and head."""
        embedding = sinusoids(100 * box_displacements(boxes), FREQUENCIES, 1000.0).flatten(-2)
        log_weights: Tensor = self.weight(embedding).relu().clamp(min=1e-6).log()
        return log_weights.view(*log_weights.shape[:3], *self.shape).permute(0, 3, 4, 1, 2)
