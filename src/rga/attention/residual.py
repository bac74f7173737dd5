"""Residual attention: the soft mask branch of the Residual Attention Network."""

from math import ceil, log2

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention.checks import check_size, check_values

torch.fx.wrap("check_size")


class ResidualAttention(nn.Module):
    """Residual attention: (1 + M(x)) * x with M the soft mask branch, (B, C, H, W) -> the same shape.

    M is an hourglass: a 3x3 maximum pooling of stride 2 and a residual unit, `depth` times; at the bottom and after
    each addition a residual unit and bilinear interpolation to the size before the pooling; the skip connection of
    every level but the outermost is a residual unit. Two 1x1 convolutions, BatchNorm and ReLU before each, and a
    sigmoid end it. The residual unit is the bottleneck of the pre-activation ResNet (He et al., ECCV 2016), C//4 wide.

    Source: Wang, Jiang, Qian, Yang, Li, Zhang, Wang, Tang, Residual Attention Network for Image Classification, CVPR
    2017, arXiv:1704.06904, equation 3 and figure 2 with r = 1 unit between poolings and mixed attention (sigmoid; the
    published Attention-56 has tanh), and the authors' network files, which have no biases. As a block behind a stage, x
    takes the place of the trunk branch. The paper pools maps of 56, 28 and 14 positions 3, 2 and 1 times, down to 7:
    `depth` is how many halvings bring the shorter side down to 7 or less, and at least 1. As in the authors' files, the
    interpolation aligns corners.

    Args:
        channels: C.
        size: (H, W) of the feature map, which determines the depth.

    Raises:
        ValueError: in forward, if the input has another size.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.channels, self.size = channels, (size[0], size[1])
        self.depth = depth = max(ceil(log2(min(size) / 7)), 1)
        # A pooling halves a side of n to (n + 1)//2, which depth times is ceil(n / 2**depth).
        self.smallest = ceil(size[0] / 2**depth) * ceil(size[1] / 2**depth)  # positions at the bottom
        self.down = nn.ModuleList(_Unit(channels) for _ in range(depth))
        self.skip = nn.ModuleList(_Unit(channels) for _ in range(depth - 1))
        self.up = nn.ModuleList(_Unit(channels) for _ in range(depth))
        self.mask = nn.Sequential(*_layer(channels, channels), *_layer(channels, channels))

    def gate(self, x: Tensor) -> Tensor:
        """The weights 1 + M(x), (B, C, H, W), between 1 and 2."""
        return 1 + self._mask(x)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(x, x, self._mask(x))

    def _mask(self, x: Tensor) -> Tensor:
        check_size(x, self.channels, self.size)
        check_values(x, self, self.smallest)
        return torch.sigmoid(self.mask(self._level(x, 0)))

    def _level(self, x: Tensor, level: int) -> Tensor:
        y = self.down[level](F.max_pool2d(x, 3, stride=2, padding=1))
        if level + 1 < self.depth:
            y = self.skip[level](y) + self._level(y, level + 1)
        return F.interpolate(self.up[level](y), size=x.shape[2:], mode="bilinear", align_corners=True)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, size={self.size}, depth={self.depth}"


class _Unit(nn.Module):
    """x + conv1x1(conv3x3(conv1x1(x))), BatchNorm and ReLU before each convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(channels // 4, 1)
        self.residual = nn.Sequential(*_layer(channels, width), *_layer(width, width, 3), *_layer(width, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


def _layer(channels: int, width: int, kernel: int = 1) -> tuple[nn.Module, nn.Module, nn.Module]:
    conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    return nn.BatchNorm2d(channels), nn.ReLU(inplace=True), conv
