"""SCNet's self-calibrated convolution, in its bottleneck."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention.checks import check_values, positive


class SelfCalibrated(nn.Module):
    """Bottleneck with a self-calibrated convolution: relu(x + BN(W [y1; y2])), (B, C, H, W) -> the same shape.

    x1 and x2 are embeddings of x, relu(BN(1x1)), in C//8 channels (at least 1) each. With f_k a 3x3 convolution and a
    BatchNorm, "pool" the means of windows of r x r and "up" bilinear:

        y1 = relu(f4(f3(x1) * sigmoid(x1 + up(f2(pool(x1))))))      (self-calibration)
        y2 = relu(f1(x2))

    Source: Liu, Hou, Cheng, Wang, Feng, Improving Convolutional Networks with Self-Calibrated Convolutions, CVPR 2020,
    section 3, and the authors' code for what surrounds them. The paper replaces the 3x3 convolution in the
    bottlenecks of a ResNet; as a block behind a stage it needs the shape kept and features to start from, so it is such
    a bottleneck, with its input added and the paper's widths. What differs: the authors' code enlarges with nearest
    neighbours, the paper bilinearly, and so does this block (pixel centres aligned); windows at the border that r does
    not fill are used and not dropped, so that maps smaller than r work.

    Args:
        channels: C.
        size: not used, the parameters serve every size.
        pooling: r of the paper.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, pooling: int = 4) -> None:
        super().__init__()
        width = max(channels // 8, 1)
        self.pooling = positive(pooling, "pooling")
        self.embed = _layer(channels, 2 * width, 1)
        self.f1, self.f2, self.f3, self.f4 = (_layer(width, width, 3) for _ in range(4))
        self.project = _layer(2 * width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_values(x, self, -(-x.shape[2] // self.pooling) * -(-x.shape[3] // self.pooling))
        calibrated, plain = F.relu(self.embed(x), inplace=True).chunk(2, dim=1)
        y = torch.cat([self.f4(self._calibrate(calibrated)), self.f1(plain)], dim=1)
        return F.relu(x + self.project(F.relu(y, inplace=True)), inplace=True)

    def _calibrate(self, x: Tensor) -> Tensor:
        coarse = self.f2(F.avg_pool2d(x, self.pooling, ceil_mode=True, count_include_pad=False))
        coarse = F.interpolate(coarse, size=x.shape[2:], mode="bilinear")
        return self.f3(x) * torch.sigmoid(x + coarse)

    def extra_repr(self) -> str:
        return f"pooling={self.pooling}"


def _layer(channels: int, width: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width))
