"""LKA: the large-kernel attention of the Visual Attention Network."""

import torch.fx
from torch import Tensor, nn

from rga.attention.half import times

torch.fx.wrap("times")


class LKA(nn.Module):
    """Large-kernel attention: x * gate(x), where a weight depends on the 23 x 23 positions around it.

    (B, C, H, W) -> the same shape. The gate is W1 (W7 * (W5 * x)): a 5x5 depthwise convolution, a 7x7 depthwise one
    dilated by 3, a 1x1 convolution, each with a bias. No function bounds it: the weights are any real numbers, the
    output is a square of the features, and under autocast to float16 it is float32.

    Source: Guo, Lu, Liu, Cheng, Hu, Visual Attention Network, arXiv:2202.09741, section 3.1, with the published
    decomposition of a 21x21 kernel. Nothing differs. The paper's network puts a 1x1 convolution and a GELU before it,
    another 1x1 convolution after it and adds the input; those belong to the network's layers, this is the attention.

    Args:
        channels: C.
        size: not used, the parameters serve every size.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.distant = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.mix = nn.Conv2d(channels, channels, 1)

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, C, H, W), not bounded."""
        return self.mix(self.distant(self.local(x)))

    def forward(self, x: Tensor) -> Tensor:
        return times(x, self.gate(x))
