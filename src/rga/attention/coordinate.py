"""Coordinate attention: weights of rows and weights of columns, for each channel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention.checks import reduced


class Coordinate(nn.Module):
    """Coordinate attention: x[c, i, j] * g_h[c, i] * g_w[c, j], (B, C, H, W) -> the same shape.

    The means over the rows (B, C, H) and over the columns (B, C, W), one behind the other, go through
    f = hardswish(BN(F1 z)) with D = max(C//reduction, 8) channels; g_h = sigmoid(F_h f) on the first part of f,
    g_w = sigmoid(F_w f) on the second.

    Source: Hou, Zhou, Feng, Coordinate Attention for Efficient Mobile Network Design, CVPR 2021, arXiv:2103.02907,
    equations 4 to 9. The least width 8 is the authors' code's, and so are BatchNorm, hard-swish and the biases of F_h
    and F_w, which the equations leave out; the bias of F1, which the BatchNorm takes out again, is left out here.
    timm's `CoordAttn` has other widths (2/3 of SE's) and biases everywhere or nowhere.

    Args:
        channels: C.
        size: not used, the parameters serve every size.
        reduction: r of the paper.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 32) -> None:
        super().__init__()
        width = reduced(channels, reduction, 8)
        self.embed = nn.Conv2d(channels, width, 1, bias=False)  # F1
        self.norm = nn.BatchNorm2d(width)
        self.rows = nn.Conv2d(width, channels, 1)  # F_h
        self.columns = nn.Conv2d(width, channels, 1)  # F_w

    def gate(self, x: Tensor) -> Tensor:
        """The product of both weights, (B, C, H, W)."""
        rows, columns = self._weights(x)
        return rows * columns

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self._weights(x)
        return x * rows * columns  # x first: the result keeps its memory format

    def _weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, 1) and (B, C, 1, W)."""
        height, width = x.shape[2:]
        pooled = torch.cat([x.mean(3), x.mean(2)], dim=2).unsqueeze(3)  # (B, C, H + W, 1)
        embedding = F.hardswish(self.norm(self.embed(pooled)))
        rows, columns = embedding.split([height, width], dim=2)
        return torch.sigmoid(self.rows(rows)), torch.sigmoid(self.columns(columns.transpose(2, 3)))
