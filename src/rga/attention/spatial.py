"""RGA-S: one weight per position (section 3.2 of the paper)."""

import torch.fx
from torch import Tensor, nn

from rga.attention.relation import RelationAttention, check_size

torch.fx.wrap("check_size")


class RGAS(nn.Module):
    """Spatial relation-aware global attention: (B, C, H, W) -> the same shape, x * gate(x).

    The nodes are the H W positions, their features the C channels. See `RelationAttention` for the formulae.

    Args:
        channels, size: C and (H, W) of the feature map.
        reduction, squeeze: s1 and s2 of the paper.
        relation: False is "w/o Rel.", the gate sees only the feature of a position.
        vision: False is "w/o Vis.", the gate sees only the relations of a position.
        zero_init_last: all weights begin at 1/2, see `RelationAttention`.

    Raises:
        ValueError: in forward, if the input has another size.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        reduction: int = 8,
        squeeze: int = 8,
        relation: bool = True,
        vision: bool = True,
        zero_init_last: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, (size[0], size[1])
        self.attention = RelationAttention(
            channels,
            size[0] * size[1],
            reduction=reduction,
            squeeze=squeeze,
            relation=relation,
            vision=vision,
            zero_init_last=zero_init_last,
        )

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, 1, H, W)."""
        check_size(x, self.channels, self.size)
        return self.attention(x.flatten(2)).unflatten(2, self.size)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, size={self.size}"
