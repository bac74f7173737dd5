"""CBAM: channel attention, spatial attention, and one after the other.

Source: Woo, Park, Lee, Kweon, CBAM: Convolutional Block Attention Module, ECCV 2018, arXiv:1807.06521, and the authors'
code. timm's `CbamModule` is close, but it leaves out the biases of the MLP, rounds its width to the nearest integer,
averages the gradient of a maximum over its ties and knows neither gates nor the halves of Table 2; hence this file.
"""

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention.checks import check_values, reduced


class CBAMC(nn.Module):
    """CBAM-C: sigmoid(MLP(mean of x) + MLP(maximum of x)), one weight per channel (equation 2).

    (B, C, H, W) -> the same shape, x * gate(x). Both share the MLP: C -> C//reduction (at least 1), ReLU, -> C. The
    equation shows no biases; the authors' code has them, and so has this block.

    Args:
        channels: C.
        size: not used, the parameters serve every size.
        reduction: r of the paper.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 16) -> None:
        super().__init__()
        width = reduced(channels, reduction)
        self.fc1 = nn.Linear(channels, width)
        self.fc2 = nn.Linear(width, channels)

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, C, 1, 1)."""
        pooled = torch.stack([x.mean((2, 3)), _maximum(x)])  # (2, B, C)
        mean, maximum = self.fc2(F.relu(self.fc1(pooled), inplace=True)).unbind()
        return torch.sigmoid(mean + maximum)[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class CBAMS(nn.Module):
    """CBAM-S: sigmoid(conv7x7([mean of x; maximum of x] over the channels)), one weight per position (equation 3).

    (B, C, H, W) -> the same shape, x * gate(x). As in the authors' code the convolution has no bias and a BatchNorm of
    momentum 0.01 behind it, which the paper does not mention; its weight starts at 0, so that all positions start with
    the weight 1/2. The authors' code takes the maximum first, the paper the mean, and so does this block: with the two
    input channels of the convolution exchanged it is the same.

    Args:
        channels, size: not used, the parameters serve every map.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=0.01)
        nn.init.zeros_(self.norm.weight)

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, 1, H, W)."""
        check_values(x, self, x.shape[2] * x.shape[3])
        pooled = torch.stack([x.mean(1), x.max(1).values], dim=1)  # (B, 2, H, W)
        return torch.sigmoid(self.norm(self.conv(pooled)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class CBAM(nn.Module):
    """CBAM, in the tables CBAM-CS: CBAM-S on the output of CBAM-C (equation 1). (B, C, H, W) -> the same shape.

    The arguments are those of `CBAMC`.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 16) -> None:
        super().__init__()
        self.channel = CBAMC(channels, size, reduction=reduction)
        self.spatial = CBAMS(channels, size)

    def gate(self, x: Tensor) -> Tensor:
        """The product of both weights, (B, C, H, W); the positions' come from the channel-wise scaled features."""
        channel = self.channel.gate(x)
        return channel * self.spatial.gate(x * channel)

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial(self.channel(x))


@torch.fx.wrap
def _maximum(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C); among equal values one gets the gradient."""
    # CUDA's pooling gives a whole map to one thread; the CPU's reduction is slow for channels_last maps.
    return x.flatten(2).max(2).values if x.is_cuda else F.adaptive_max_pool2d(x, 1).flatten(1)
