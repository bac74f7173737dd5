"""ResNet for images of 32 x 32.

Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2.
"""

from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from rga.backbones.weights import load_weights, read_weights


def cifar_resnet(depth: int, shrink: int = 1, weights: str | Path | None = None) -> nn.Sequential:
    """Images (B, 3, 32, 32) -> the last feature map (B, 64, 8, 8), without pooling and classifier.

    The children are `stem`, a 3x3 convolution to 16 channels, and `stage1`, `stage2`, `stage3` of n basic blocks each
    with 16, 32 and 64 channels at strides 1, 2 and 4. The shortcuts have no parameters, option A of the paper.

    The paper initialises as He et al., ICCV 2015, which offers the fan-in or the fan-out; here it is the fan-out, as in
    the implementation that the field compares with, fb.resnet.torch: normal, variance 2 / (9 * output channels).

    Args:
        depth: 6n + 2, counting the classifier: 20, 56, 110, 218.
        shrink: divides the number of blocks of each stage, of which at least one remains.
        weights: a file of weights.

    Raises:
        ValueError: no network has this depth, shrink is below 1, or the weights do not fit.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        near = max(6 * blocks + 2, 8)
        raise ValueError(f"the depth of a CIFAR ResNet is 6n + 2, got {depth}; near it are {near} and {near + 6}")
    if shrink < 1:
        raise ValueError(f"shrink divides the number of blocks and is at least 1, got {shrink}")
    blocks = max(blocks // shrink, 1)
    network = nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(_conv3x3(3, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
            stage1=_stage(16, 16, blocks),
            stage2=_stage(16, 32, blocks, stride=2),
            stage3=_stage(32, 64, blocks, stride=2),
        )
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if weights is not None:
        load_weights(network, read_weights(weights), ignored=(), source=weights)
    return network


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (B, C, H, W) -> (B, out_channels, H/stride, W/stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = Shortcut(in_channels, out_channels, stride) if stride != 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return F.relu(y, inplace=True)


class Shortcut(nn.Module):
    """Option A: every stride-th pixel, and zeros for the channels that the input lacks, behind those it has."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.missing, self.stride = out_channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))

    def extra_repr(self) -> str:
        return f"missing={self.missing}, stride={self.stride}"


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int = 1) -> nn.Sequential:
    rest = [BasicBlock(out_channels, out_channels) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(in_channels, out_channels, stride), *rest)


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
