"""The embedded-Gaussian non-local block, and RGA-S behind it."""

from typing import Any

import torch.fx
from torch import Tensor, nn

from rga.attention.attend import attend
from rga.attention.checks import check_values
from rga.attention.rga import RGA, RGAS

torch.fx.wrap("attend")


class NonLocal(nn.Module):
    """Non-local block (Wang, Girshick, Gupta, He, CVPR 2018, arXiv:1711.07971, equations 1, 3 and 6).

    (B, C, H, W) -> the same shape, x_i + BN(W_z sum_j softmax_j(theta_i . phi_j) g_j) over all positions j, with theta,
    phi and g embeddings of x in C//2 channels. The weight of the BatchNorm starts at 0: the block starts as identity.

    What differs from the authors' code: it subsamples phi and g by max pooling (a saving that the paper offers), this
    block does not; it divides theta . phi by sqrt(C//2), the paper's formula and this block do not; it has biases,
    which start at 0 and of which only theta's changes what the block can compute (phi's cancels in the softmax, those
    of g and W_z in the BatchNorm). Its initialisation, a normal distribution with deviation 0.01, is kept. theta, phi
    and g are one convolution here, and on large maps the attention is PyTorch's fused one: the same numbers to
    rounding, without the N x N matrix in memory where a fused kernel exists (see `attend`).

    Args:
        channels: C.
        size: not used, the parameters serve every size.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.width = max(channels // 2, 1)
        self.embed = nn.Conv2d(channels, 3 * self.width, 1, bias=False)  # theta, phi, g
        self.project = nn.Conv2d(self.width, channels, 1, bias=False)  # W_z
        self.norm = nn.BatchNorm2d(channels)
        nn.init.normal_(self.embed.weight, std=0.01)
        nn.init.normal_(self.project.weight, std=0.01)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        check_values(x, self, x.shape[2] * x.shape[3])
        return x + self.norm(self.project(attend(self.embed(x), self.width)))


class NonLocalRGAS(RGA):
    """Non-local + RGA-S: RGA-S on the output of the non-local block. (B, C, H, W) -> the same shape.

    Source: Zhang et al., Relation-Aware Global Attention, arXiv:1904.02998, the row of that name. Not a gate, as the
    non-local block adds. The arguments are RGA-S's.
    """

    def _build(self, **options: Any) -> None:
        self.non_local = NonLocal(self.channels, self.size)
        self.spatial = RGAS(self.channels, self.size, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial(self.non_local(x))
