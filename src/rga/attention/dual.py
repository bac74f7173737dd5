"""The dual attention of DANet: positions attend to positions, channels to channels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention.pairs import attend


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
        self.width = max(channels // reduction, 1)
        self.embed = nn.Conv2d(channels, 2 * self.width + channels, 1)  # q, k, v
        self.alpha = nn.Parameter(torch.zeros(()))  # of dimension 0, which does not widen bfloat16
        self.beta = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        # In one memory format with x, to which they are added.
        layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        position = attend(self.embed(x), self.width)
        channel = self._channel(x).contiguous(memory_format=layout)
        return x + (self.alpha * position + self.beta * channel)

    @staticmethod
    def _channel(x: Tensor) -> Tensor:
        maps = x.flatten(2).contiguous()  # (B, C, N)
        if x.shape[1] <= maps.shape[2]:  # the matrix is no larger than x: faster than computing it again for backward
            return ((maps @ maps.transpose(1, 2)).softmax(2) @ maps).view(x.shape)
        heads = maps.unsqueeze(1)  # one head, (B, 1, C, N)
        return F.scaled_dot_product_attention(heads, heads, heads, scale=1.0).view(x.shape)
