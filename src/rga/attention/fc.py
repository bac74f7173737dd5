"""FC-C, FC-S and FC-S//C: global attention by fully connected layers, what the RGA paper compares itself with.

Source: Zhang et al., Relation-Aware Global Attention, arXiv:1904.02998, experiments. The paper says what the layers act
on; for the rest these blocks do as their neighbours in the table: widths are divided by RGA's s1 = 8, the embedding is
RGA's (no bias, BatchNorm, ReLU), and the fully connected layers are SE's, with biases, ReLU between two of them and a
sigmoid at the end. No BatchNorm there, as its statistics would come from one value per image.
"""

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention.checks import check_size, check_values, reduced

torch.fx.wrap("check_size")


class FCC(nn.Module):
    """FC-C, one weight per channel: sigmoid(W mean(relu(BN(E x)))), the mean over the positions.

    (B, C, H, W) -> the same shape, x * gate(x). E is a 1x1 convolution to C//reduction channels (at least 1), W the
    fully connected layer from them to the C weights. SE takes the mean first and embeds it afterwards.

    Args:
        channels: C.
        size: not used, the parameters serve every size.
        reduction: s1 of the paper.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 8) -> None:
        super().__init__()
        width = reduced(channels, reduction)
        self.embed = nn.Conv2d(channels, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, channels)

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, C, 1, 1)."""
        check_values(x, self, x.shape[2] * x.shape[3])
        embedding = F.relu(self.norm(self.embed(x)), inplace=True)
        return torch.sigmoid(self.fc(embedding.mean((2, 3))))[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class FCS(nn.Module):
    """FC-S, one weight per position: sigmoid(W2 relu(W1 m)) with m the N = H W means over the channels.

    (B, C, H, W) -> the same shape, x * gate(x). W1 gives N//reduction values (at least 1), W2 the N weights.

    Args:
        channels: C.
        size: (H, W) of the feature map.
        reduction: s1 of the paper.

    Raises:
        ValueError: in forward, if the input has another size.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 8) -> None:
        super().__init__()
        self.channels, self.size = channels, (size[0], size[1])
        nodes = size[0] * size[1]
        width = reduced(nodes, reduction)
        self.fc1 = nn.Linear(nodes, width)
        self.fc2 = nn.Linear(width, nodes)

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, 1, H, W)."""
        check_size(x, self.channels, self.size)
        hidden = F.relu(self.fc1(x.mean(1).flatten(1)), inplace=True)
        return torch.sigmoid(self.fc2(hidden)).unflatten(1, (1, *self.size))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, size={self.size}"


class FCParallel(nn.Module):
    """FC-S//C: both gates come from the same x and both scale it, as in `RGAParallel`. (B, C, H, W) -> the same shape.

    The arguments and the ValueError are those of `FCS`.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 8) -> None:
        super().__init__()
        self.spatial = FCS(channels, size, reduction=reduction)
        self.channel = FCC(channels, size, reduction=reduction)

    def gate(self, x: Tensor) -> Tensor:
        """The product of both weights, (B, C, H, W)."""
        return self.spatial.gate(x) * self.channel.gate(x)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.spatial.gate(x) * self.channel.gate(x)
