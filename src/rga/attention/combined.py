"""RGA-S and RGA-C together: one after the other, or side by side (section 3.4 of the paper)."""

from torch import Tensor, nn

from rga.attention.channel import RGAC
from rga.attention.spatial import RGAS


class _Both(nn.Module):
    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        reduction: int = 8,
        squeeze: int = 8,
        zero_init_last: bool = False,
    ) -> None:
        super().__init__()
        self.spatial = RGAS(channels, size, reduction=reduction, squeeze=squeeze, zero_init_last=zero_init_last)
        self.channel = RGAC(channels, size, reduction=reduction, squeeze=squeeze, zero_init_last=zero_init_last)


class RGASC(_Both):
    """RGA-SC, the paper's best: RGA-C on the output of RGA-S. (B, C, H, W) -> the same shape."""

    def gate(self, x: Tensor) -> Tensor:
        """The product of both weights, (B, C, H, W); the channel's come from the spatially scaled features."""
        spatial = self.spatial.gate(x)
        return spatial * self.channel.gate(x * spatial)

    def forward(self, x: Tensor) -> Tensor:
        return self.channel(self.spatial(x))


class RGACS(_Both):
    """RGA-CS: RGA-S on the output of RGA-C. (B, C, H, W) -> the same shape."""

    def gate(self, x: Tensor) -> Tensor:
        """The product of both weights, (B, C, H, W); the positions' come from the channel-wise scaled features."""
        channel = self.channel.gate(x)
        return channel * self.spatial.gate(x * channel)

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial(self.channel(x))


class RGAParallel(_Both):
    """RGA-S//C: both gates come from the same x and both scale it. (B, C, H, W) -> the same shape.

    The paper leaves the fusion open; the product is chosen because the sequential forms scale by the product as well,
    so that the rows of Table 1 differ only in what the second gate sees.
    """

    def gate(self, x: Tensor) -> Tensor:
        """The product of both weights, (B, C, H, W)."""
        return self.spatial.gate(x) * self.channel.gate(x)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.spatial.gate(x) * self.channel.gate(x)
