"""A narrow residual network with a feature pyramid, small enough to train on a laptop.

Residual blocks of He et al. 2016 (two 3x3 convolutions), pyramid of Lin et al. 2017.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; ``stride`` applies to the first."""

    def __init__(self, in_size: int, out_size: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(in_size, out_size, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_size),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_size, out_size, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_size),
        )
        same = in_size == out_size and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(in_size, out_size, 1, stride, bias=False), nn.BatchNorm2d(out_size))
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in_size, H, W) to (B, out_size, H / stride, W / stride)."""
        out: Tensor = self.relu(self.path(maps) + self.shortcut(maps))
        return out


class NarrowPyramid(nn.Module):
    """Maps of stride 4, 8, 16 ... with ``out_channels`` channels each.

    Args:
        stem_size: channels at stride 2.
        widths: channels of the stage at stride 4, 8, 16 ...
        depth: residual blocks a stage.
        out_channels: channels of every map of the pyramid.
    """

    def __init__(self, *, stem_size: int, widths: list[int], depth: int, out_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem_size, 3, 2, 1, bias=False), nn.BatchNorm2d(stem_size), nn.ReLU(inplace=True)
        )
        stages, size = [], stem_size
        for width in widths:
            first = ResidualBlock(size, width, stride=2)
            rest = (ResidualBlock(width, width, stride=1) for _ in range(depth - 1))
            stages.append(nn.Sequential(first, *rest))
            size = width
        self.stages = nn.ModuleList(stages)
        self.pyramid = FeaturePyramidNetwork(list(widths), out_channels)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Map (B, 3, H, W) to maps named "0", "1", ... from fine to coarse."""
        maps, out = OrderedDict[str, Tensor](), self.stem(images)
        for level, stage in enumerate(self.stages):
            out = stage(out)
            maps[str(level)] = out
        pyramid: OrderedDict[str, Tensor] = self.pyramid(maps)
        return pyramid
