"""BAM: channel attention and dilated spatial attention, side by side."""

import torch
import torch.fx
from torch import Tensor, nn

from rga.attention.checks import check_values, positive, reduced
from rga.attention.layout import outer_sum

torch.fx.wrap("outer_sum")


class BAM(nn.Module):
    """Bottleneck attention module: x * (1 + sigmoid(M_c(x) + M_s(x))).

    (B, C, H, W) -> the same shape. With D = C//reduction (at least 1) and "conv" a convolution without bias:

        M_c = BN(conv1x1(relu(BN(conv1x1(mean of x over positions)))))            C -> D -> C, (B, C, 1, 1)
        M_s = BN(conv1x1(f(f(f0(x))))), f = relu BN conv3x3 dilated, f0 1x1       C -> D -> D -> D -> 1, (B, 1, H, W)

    Source: Park, Woo, Lee, Kweon, BAM: Bottleneck Attention Module, BMVC 2018, arXiv:1807.06514, equations 1 to 4. The
    BatchNorm and ReLU behind the inner layers are the authors' code's, the equations leave them out. What differs from
    that code: it multiplies M_c by M_s, the equation (and the paper's ablation) adds them; it has no BatchNorm at the
    end of the branches, the equations do. Biases right before a BatchNorm, which it takes out again, are left out.

    Args:
        channels: C.
        size: not used, the parameters serve every size.
        reduction: r of the paper, for both branches.
        dilation: d of the paper.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 16, dilation: int = 4) -> None:
        super().__init__()
        width = reduced(channels, reduction)
        self.channel = nn.Sequential(*_layer(channels, width), *_layer(width, channels)[:-1])
        self.spatial = nn.Sequential(
            *_layer(channels, width),
            *_layer(width, width, 3, dilation),
            *_layer(width, width, 3, dilation),
            *_layer(width, 1)[:-1],
        )

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, C, H, W), between 1 and 2."""
        return 1 + self._attention(x)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(x, x, self._attention(x))

    def _attention(self, x: Tensor) -> Tensor:
        check_values(x, self.channel, 1)
        check_values(x, self.spatial, x.shape[2] * x.shape[3])
        return torch.sigmoid(outer_sum(x, self.channel(x.mean((2, 3), keepdim=True)), self.spatial(x)))


def _layer(channels: int, width: int, kernel: int = 1, dilation: int = 1) -> tuple[nn.Module, nn.Module, nn.Module]:
    padding = positive(dilation, "dilation") * (kernel // 2)
    conv = nn.Conv2d(channels, width, kernel, padding=padding, dilation=dilation, bias=False)
    return conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)
