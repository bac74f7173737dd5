"""The dual attention of DANet: positions attend to positions, channels to channels."""

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention.attend import attend
from rga.attention.checks import reduced
from rga.attention.half import affinity
from rga.attention.layout import is_static

torch.fx.wrap("attend")


class DANet(nn.Module):
    """Dual attention: x + alpha P(x) + beta C(x), (B, C, H, W) -> the same shape.

    P_i = sum_j softmax_j(q_i . k_j) v_j over the positions j, with q and k embeddings of x in C//8 channels (at least
    1) and v one in C. C_a = sum_b softmax_b(x_a . x_b) x_b over the channels b, without parameters. The scales alpha
    and beta start at 0: the block starts as identity.

    Source: Fu, Liu, Tian, Li, Bao, Fang, Lu, Dual Attention Network for Scene Segmentation, CVPR 2019,
    arXiv:1809.02983, equations 1 to 4. What differs:

    * The paper's head has a 3x3 convolution to C//4 channels before and another after each attention, and adds both
      results for the classifier. As a block that keeps the shape, it is the sum of both with x counted once.
    * The authors' code takes the softmax of (maximum - energy) in C, the opposite sign; this is the equation.
    * Nothing in the numbers: q, k and v are one convolution, and both attentions are PyTorch's fused one, without the
      N x N and the C x C matrix in memory where a fused kernel exists (the first on large maps, see `attend`).

    Args:
        channels: C.
        size: not used, the parameters serve every size; time grows with the square of H W and of C.
        reduction: the paper's 8.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 8) -> None:
        super().__init__()
        self.width = reduced(channels, reduction)
        self.embed = nn.Conv2d(channels, 2 * self.width + channels, 1)  # q, k, v
        self.alpha = nn.Parameter(torch.zeros(()))  # of dimension 0, which does not widen bfloat16
        self.beta = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        position = attend(self.embed(x), self.width)
        return x + (self.alpha * position + self.beta * attend_channels(x))


@torch.fx.wrap
def attend_channels(x: Tensor) -> Tensor:
    """sum_b softmax_b(x_a . x_b) x_b for each channel a, (B, C, H, W) in the memory format of x."""
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    maps = x.flatten(2).contiguous()  # (B, C, N)
    if not is_static(x) or x.shape[1] <= maps.shape[2]:
        # The matrix is no larger than x: faster than computing it again for backward.
        y = affinity(maps, maps.transpose(1, 2)) @ maps
    else:
        heads = maps.unsqueeze(1)  # one head, (B, 1, C, N)
        y = F.scaled_dot_product_attention(heads, heads, heads, scale=1.0)
    return y.view(x.shape).contiguous(memory_format=layout)
