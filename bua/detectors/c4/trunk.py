"""The ResNet of the paper's detector: Caffe's stem and strides, frozen batch norm, dilated last stage.

It is torchvision's ResNet, changed where the original differs: the pooling of the stem has no padding and
rounds its size up; the stride of a stage is in its first 1x1 convolution (He et al. 2016, as first
released); and the last stage, which is applied to pooled regions, keeps its resolution with a dilation of 2
in all three blocks. Batch norm is never trained.

Shapes: B images, N regions, h x w cells of the feature map.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

#: Number of channels of the map that regions are pooled from, and size of a region feature.
MAP_SIZE, FEATURE_SIZE = 1024, 2048
#: Stride of that map: pixels of the resized image per cell.
STRIDE = 16


class Trunk(nn.Module):
    """A ResNet in two parts: the feature map of the image, and the last stage over regions of it.

    Args:
        blocks: Numbers of bottleneck blocks of the four stages; 3, 4, 23, 3 for ResNet-101.
        dilated: Whether the last stage is dilated; otherwise it halves the resolution.
    """

    def __init__(self, *, blocks: Sequence[int], dilated: bool) -> None:
        super().__init__()
        net = ResNet(Bottleneck, list(blocks), norm_layer=partial(FrozenBatchNorm2d, eps=1e-5))
        self.conv1, self.bn1, self.relu = net.conv1, net.bn1, net.relu
        self.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        for stage in (self.layer2, self.layer3, self.layer4):
            _move_stride(stage[0])
        if dilated:
            _dilate(self.layer4)

    def map(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1024 h w"]:
        """Return the feature map of stride 16 (``res4b22``)."""
        out = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps: Tensor = self.layer3(self.layer2(self.layer1(out)))
        return maps

    def last_stage(self, maps: Float[Tensor, "N 1024 h w"]) -> Float[Tensor, "N 2048 g k"]:
        """Apply the last stage (``res5``) to the maps of regions, or to that of the whole image."""
        out: Tensor = self.layer4(maps)
        return out

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 2048 g k"]:
        """Return the last stage over the whole image, for grid features."""
        return self.last_stage(self.map(images))

    def freeze(self, stages: int) -> None:
        """Freeze the first stages: 1 is the stem, 2 the stem and ``res2``, and so on."""
        parts: list[nn.Module] = [self.conv1, self.layer1, self.layer2, self.layer3, self.layer4]
        for part in parts[:stages]:
            part.requires_grad_(False)
        if stages >= 3:  # the shortcut into res4 is not trained in the released network either
            self.layer3[0].downsample.requires_grad_(False)


def _move_stride(block: Any) -> None:
    """Move the stride of a bottleneck block from its 3x3 convolution to the 1x1 before it."""
    block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)


def _dilate(stage: Any) -> None:
    """Remove the stride of a stage and dilate its 3x3 convolutions by 2."""
    stage[0].conv1.stride = stage[0].downsample[0].stride = (1, 1)
    for block in stage:
        block.conv2.dilation = block.conv2.padding = (2, 2)
