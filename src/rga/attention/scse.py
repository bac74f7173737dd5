"""scSE: squeeze and excitation of channels and of positions at the same time."""

from typing import Literal, get_args

import torch
import torch.fx
from torch import Tensor, nn

from rga.attention.layout import outer_sum
from rga.attention.se import SE

torch.fx.wrap("outer_sum")

Fusion = Literal["add", "max", "multiply"]


class SCSE(nn.Module):
    """Concurrent spatial and channel squeeze and excitation: (B, C, H, W) -> the same shape, x * gate(x).

    cSE is `SE` with the ratio 2, a weight a for each channel; sSE is b = sigmoid(w . x_i + bias) for each position i.
    The fusion of the two scaled maps is

    * add: a x + b x = x (a + b), the definition of the conference paper;
    * max: max(a x, b x), the journal paper's choice and the authors' code's; where x is negative that is the smaller
      of the two weights;
    * multiply: x a b. The product is that of the weights; the product of both maps would square x.

    The journal paper's fourth fusion, concatenation, doubles the channels and is therefore not available here.

    Source: Roy, Navab, Wachinger, Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks,
    MICCAI 2018, arXiv:1803.02579, section 2; the fusions: the same, Recalibrating Fully Convolutional Networks
    with Spatial and Channel Squeeze & Excitation Blocks, IEEE TMI 2019, arXiv:1808.08127. The equations show no biases;
    the authors' code has them, and so has this block.

    Args:
        channels: C.
        size: not used, the parameters serve every size.
        reduction: r of cSE.
        fusion: see above.

    Raises:
        ValueError: the fusion is none of them.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 2, fusion: Fusion = "add") -> None:
        super().__init__()
        if fusion not in get_args(Fusion):
            raise ValueError(f"fusion must be one of {', '.join(get_args(Fusion))}, not {fusion!r}")
        self.fusion = fusion
        self.channel = SE(channels, size, reduction=reduction)
        self.spatial = nn.Conv2d(channels, 1, 1)

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, C, H, W); between 0 and 2 if they are added, otherwise between 0 and 1."""
        channel, spatial = self._weights(x)
        if self.fusion == "add":
            return outer_sum(x, channel, spatial)
        if self.fusion == "multiply":
            return channel * spatial
        return torch.where(x < 0, torch.minimum(channel, spatial), torch.maximum(channel, spatial))

    def forward(self, x: Tensor) -> Tensor:
        if self.fusion == "add":
            return x * self.gate(x)
        channel, spatial = self._weights(x)
        if self.fusion == "multiply":
            return x * channel * spatial
        return torch.maximum(x * channel, x * spatial)

    def _weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, 1, 1) and (B, 1, H, W)."""
        return self.channel.gate(x), torch.sigmoid(self.spatial(x))

    def extra_repr(self) -> str:
        return f"fusion={self.fusion}"
