"""Strip pooling: the mixed pooling module of SPNet."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention.checks import check_values


class StripPooling(nn.Module):
    """Mixed pooling module: relu(x + BN(W [s; l])), (B, C, H, W) -> the same shape.

    s (short range) and l (long range) start from one embedding of x each, relu(BN(1x1)) to D = C//4 (at least 1). With
    f a convolution and a BatchNorm:

        s = relu(f3x3(relu(f3x3(e) + up(f3x3(pool3(e))) + up(f3x3(pool5(e))))))     e the first embedding
        l = relu(f3x3(relu(f1x3(mean of e over each column) + f3x1(mean of e over each row))))   e the second

    pool3 and pool5 are means over windows of 3x3 and 5x5, up is bilinear (corners aligned, as in the authors' code).

    Source: Hou, Zhang, Cheng, Feng, Strip Pooling: Rethinking Spatial Pooling for Scene Parsing, CVPR 2020,
    arXiv:2003.13328, section 3.2, and the authors' code. What differs: the paper pools to 20x20 and 12x12 on maps of
    60x60; the windows of 3 and 5 are the same there and keep their meaning on small maps, of which the fixed grids
    would be enlargements. A strip is added by broadcasting, which is what its interpolation to H x W
    amounts to.

    Args:
        channels: C.
        size: not used, the parameters serve every size.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        width = max(channels // 4, 1)
        self.embed_short = nn.Sequential(_layer(channels, width, (1, 1)), nn.ReLU(inplace=True))
        self.embed_long = nn.Sequential(_layer(channels, width, (1, 1)), nn.ReLU(inplace=True))
        self.full, self.window3, self.window5 = (_layer(width, width, (3, 3)) for _ in range(3))
        self.columns, self.rows = _layer(width, width, (1, 3)), _layer(width, width, (3, 1))
        self.short = nn.Sequential(nn.ReLU(inplace=True), _layer(width, width, (3, 3)), nn.ReLU(inplace=True))
        self.long = nn.Sequential(nn.ReLU(inplace=True), _layer(width, width, (3, 3)), nn.ReLU(inplace=True))
        self.project = _layer(2 * width, channels, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        for positions in (x.shape[2], x.shape[3], -(-x.shape[2] // 5) * -(-x.shape[3] // 5)):
            check_values(x, self, positions)
        short, long = self.embed_short(x), self.embed_long(x)
        windows = _up(self.window3(_pool(short, 3)), x) + _up(self.window5(_pool(short, 5)), x)
        short = self.short(self.full(short) + windows)
        long = self.long(self.columns(long.mean(2, keepdim=True)) + self.rows(long.mean(3, keepdim=True)))
        return F.relu(x + self.project(torch.cat([short, long], dim=1)), inplace=True)


def _layer(channels: int, width: int, kernel: tuple[int, int]) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(channels, width, kernel, padding=padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width))


def _pool(x: Tensor, window: int) -> Tensor:
    """The means of windows; those at the lower and right border are smaller where the size is no multiple."""
    return F.avg_pool2d(x, window, ceil_mode=True, count_include_pad=False)


def _up(y: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=True)
