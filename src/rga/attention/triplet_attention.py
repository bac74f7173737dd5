"""Triplet attention: three spatial attentions, over (H, W), (C, W) and (C, H)."""

import torch
import torch.fx
from torch import Tensor, nn

from rga.attention.checks import check_values
from rga.attention.layout import outer_sum

torch.fx.wrap("outer_sum")


class Triplet(nn.Module):
    """Triplet attention: x * (a_hw + a_cw + a_ch) / 3, (B, C, H, W) -> the same shape.

    Each of the three weights is sigmoid(BN(conv7x7([maximum; mean]))) of x pooled over the dimension it does not name
    (the paper's Z-pool), which makes a map of the two others.

    Source: Misra, Nalamada, Arasanipalai, Hou, Rotate to Attend: Convolutional Triplet Attention Module, WACV 2021,
    arXiv:2010.03045, section 3. The convolutions have no bias and the BatchNorms the momentum 0.01, as in the
    authors' code. What differs from that code: x is not permuted, pooled, permuted back and scaled three times; it is
    pooled where it lies and scaled once. Its map (H, C) is (C, H) here, so the kernel of that branch is transposed.

    Args:
        channels, size: not used, the parameters serve every map.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.hw, self.cw, self.ch = _attention(), _attention(), _attention()

    def gate(self, x: Tensor) -> Tensor:
        """The mean of the three weights, (B, C, H, W)."""
        check_values(x, self.hw, x.shape[2] * x.shape[3])
        check_values(x, self.cw, x.shape[1] * x.shape[3])
        check_values(x, self.ch, x.shape[1] * x.shape[2])
        hw = torch.sigmoid(self.hw(_z_pool(x, 1)))  # (B, 1, H, W)
        cw = torch.sigmoid(self.cw(_z_pool(x, 2)))  # (B, 1, C, W)
        ch = torch.sigmoid(self.ch(_z_pool(x, 3)))  # (B, 1, C, H)
        return outer_sum(x, cw.transpose(1, 2) / 3, ch.squeeze(1).unsqueeze(3) / 3, hw / 3)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def _attention() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1, momentum=0.01))


def _z_pool(x: Tensor, dim: int) -> Tensor:
    return torch.stack([x.max(dim).values, x.mean(dim)], dim=1)
