"""GC: the global context block of GCNet."""

from timm.layers.global_context import GlobalContext
from torch import Tensor, nn

from rga.attention.checks import reduced


class GC(nn.Module):
    """Global context: x_i + W2 relu(LN(W1 c)) with c = sum_j softmax_j(w . x_j) x_j, the same for every position i.

    (B, C, H, W) -> the same shape. W1 gives C//reduction channels (at least 1). W2 starts at 0: the block starts as
    identity.

    Source: Cao, Xu, Lin, Wei, Hu, GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond, ICCVW 2019,
    arXiv:1904.11492, figure 4 (d). It is timm's module with the paper's fusion (addition), its ratio
    and, as in the authors' code, W2's bias at 0 in the beginning and a LayerNorm with an epsilon of 1e-5 (timm's 1e-6).
    Both have a bias beside w; it cancels in the softmax and is left out here.

    Args:
        channels: C.
        size: not used, the parameters serve every size.
        reduction: r of the paper.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 16) -> None:
        super().__init__()
        self.context = GlobalContext(
            channels, fuse_add=True, fuse_scale=False, rd_channels=reduced(channels, reduction)
        )
        self.context.conv_attn.register_parameter("bias", None)
        self.context.mlp_add.norm.eps = 1e-5
        nn.init.zeros_(self.context.mlp_add.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        # As timm's, in matrix products that take the map as it lies.
        attention = self.context.conv_attn(x).flatten(2).softmax(2)  # (B, 1, N)
        context = x.flatten(2) @ attention.transpose(1, 2)  # (B, C, 1)
        return x + self.context.mlp_add(context.unsqueeze(3))
