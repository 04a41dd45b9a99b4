"""The anchors of the paper's detector, by the arithmetic of the first Faster R-CNN release.

From a square of 16 pixels, boxes of three shapes whose sides are rounded, then each in four sizes:
ratios outside, sizes inside. Their common centre is that of pixels 0 to 15.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

RATIOS, SCALES = (0.5, 1.0, 2.0), (4, 8, 16, 32)
#: Height over width is the ratio.
BASE = 16


def base_anchors() -> Float[Tensor, "12 4"]:
    """Return the anchors of the first cell, x1 y1 x2 y2 with the last pixel included."""
    centre, boxes = (BASE - 1) / 2, []
    for ratio in RATIOS:
        width = np.round(np.sqrt(BASE * BASE / ratio))
        height = np.round(width * ratio)
        for scale in SCALES:
            half = (width * scale - 1) / 2, (height * scale - 1) / 2
            boxes.append([centre - half[0], centre - half[1], centre + half[0], centre + half[1]])
    return torch.tensor(np.array(boxes), dtype=torch.float32)


def grid_anchors(base: Float[Tensor, "A 4"], height: int, width: int, stride: int) -> Float[Tensor, "HWA 4"]:
    """Return the anchors of every cell of a map, row by row, those of a cell together."""
    y = torch.arange(height, device=base.device, dtype=base.dtype) * stride
    x = torch.arange(width, device=base.device, dtype=base.dtype) * stride
    y, x = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (shifts + base).reshape(-1, 4)
