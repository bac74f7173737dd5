"""RGA-C: one weight per channel (section 3.3 of the paper)."""

import torch.fx
from torch import Tensor, nn

from rga.attention.relation import RelationAttention, check_size

torch.fx.wrap("check_size")


class RGAC(nn.Module):
    """Channel relation-aware global attention: (B, C, H, W) -> the same shape, x * gate(x).

    The nodes are the C channels, their features the H W positions. See `RelationAttention` for the formulae.

    Args:
        channels, size: C and (H, W) of the feature map.
        reduction, squeeze: s1 and s2 of the paper.
        relation: False is "w/o Rel.", the gate sees only the feature of a channel.
        vision: False is "w/o Vis.", the gate sees only the relations of a channel.
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
            size[0] * size[1],
            channels,
            reduction=reduction,
            squeeze=squeeze,
            relation=relation,
            vision=vision,
            zero_init_last=zero_init_last,
        )

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, C, 1, 1)."""
        check_size(x, self.channels, self.size)
        nodes = x.flatten(2).transpose(1, 2)  # (B, HW, C), a view for contiguous and channels_last maps
        return self.attention(nodes).unflatten(1, (1, 1)).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, size={self.size}"
