"""DenseNet and DenseNet-BC for images of 32 x 32.

Source: Huang et al., Densely Connected Convolutional Networks, CVPR 2017, sections 3 and 4.2.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from rga.backbones.weights import load_weights, read_weights


def cifar_densenet(
    depth: int,
    growth: int = 12,
    bottleneck: bool = False,
    compression: float = 1.0,
    shrink: int = 1,
    weights: str | Path | None = None,
) -> nn.Sequential:
    """Images (B, 3, 32, 32) -> the last feature map (B, C, 8, 8), without pooling and classifier.

    The children are `stem`, a 3x3 convolution, and `stage1`, `stage2`, `stage3`: a dense block each, followed by a
    transition to half the height and width in the first two and by the last BN-ReLU in the third. A dense block has
    (depth - 4) / 3 layers, with bottlenecks half of them, rounded down: DenseNet-BC-115 has 18, which gives the
    0.968 M parameters that the RGA paper counts. There is no dropout: the paper has it for training without
    augmentation only. The initialisation is that of the authors' code, normal with variance 2 / fan-out.

    Args:
        depth: 3n + 4, counting the classifier: 40, 100, 115.
        growth: k, the channels that a layer adds.
        bottleneck: "B", each layer begins with a 1x1 convolution to 4k channels.
        compression: "C" if below 1, the share of the channels that a transition keeps. With both, B and C, the stem has
            2k channels, else 16.
        shrink: divides the number of layers of each block, of which at least one remains.
        weights: a file of weights.

    Raises:
        ValueError: no network has this depth, another argument is out of range, or the weights do not fit.
    """
    layers = _layers(depth, bottleneck)
    if growth < 1 or shrink < 1 or not 0 < compression <= 1:
        raise ValueError(
            "growth and shrink are at least 1 and compression is above 0 and at most 1, "
            f"got growth={growth}, shrink={shrink}, compression={compression}"
        )
    layers = max(layers // shrink, 1)
    channels = 2 * growth if bottleneck and compression < 1 else 16
    network = nn.Sequential(OrderedDict(stem=nn.Conv2d(3, channels, 3, padding=1, bias=False)))
    for stage in ("stage1", "stage2", "stage3"):
        block = nn.Sequential(*(DenseLayer(channels + i * growth, growth, bottleneck) for i in range(layers)))
        channels += layers * growth
        if stage == "stage3":
            end = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
            network.add_module(stage, nn.Sequential(OrderedDict(block=block, activation=end)))
        else:
            kept = max(int(channels * compression), 1)
            network.add_module(stage, nn.Sequential(OrderedDict(block=block, transition=_transition(channels, kept))))
            channels = kept
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if weights is not None:
        load_weights(network, read_weights(weights), ignored=(), source=weights)
    return network


class DenseLayer(nn.Module):
    """The input, and behind it `growth` new channels that are made of it: (B, C, H, W) -> (B, C + growth, H, W)."""

    def __init__(self, channels: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        inner = 4 * growth if bottleneck else channels
        squeeze = _preactivated(channels, inner, kernel=1) if bottleneck else []
        self.new = nn.Sequential(*squeeze, *_preactivated(inner, growth, kernel=3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], dim=1)


def _transition(in_channels: int, out_channels: int) -> nn.Sequential:
    """(B, in_channels, H, W) -> (B, out_channels, H/2, W/2).

    The paper pools after the convolution. Both are linear and one works on pixels, the other on channels, so their
    order does not matter; pooled first, the convolution has a quarter of the work.
    """
    norm, relu, conv = _preactivated(in_channels, out_channels, kernel=1)
    return nn.Sequential(norm, relu, nn.AvgPool2d(2), conv)


def _preactivated(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return [nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True), conv]


def _layers(depth: int, bottleneck: bool) -> int:
    """Layers per dense block."""
    least = 2 if bottleneck else 1
    convolutions, rest = divmod(depth - 4, 3)
    if rest or convolutions < least:
        near = 3 * max(convolutions, least) + 4
        kind = "CIFAR DenseNet with bottlenecks" if bottleneck else "CIFAR DenseNet"
        raise ValueError(f"the depth of a {kind} is 3n + 4, got {depth}; near it are {near} and {near + 3}")
    return convolutions // 2 if bottleneck else convolutions
