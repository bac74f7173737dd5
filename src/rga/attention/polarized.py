"""Polarized self-attention: a channel and a spatial attention, in parallel or one after the other.

Source: Liu, Liu, Yuan, Yang, Polarized Self-Attention: Towards High-quality Pixel-wise Regression, arXiv:2107.00782,
section 3. What differs from the authors' code, which departs from the equations: its parallel form has no
LayerNorm, its sequential form has two convolutions in the place of W_z, and its spatial softmax does not go over the
channels of the query. As in that code the convolutions have no biases. The numbers are the equations', but W_v is never
applied to a whole map: nothing non-linear lies between it and the weighted sum of the positions or channels, so the sum
is taken first.
"""

import torch
import torch.fx
from torch import Tensor, nn

from rga.attention.layout import outer_sum

torch.fx.wrap("outer_sum")


class _Channel(nn.Module):
    """sigmoid(LN(W_z W_v sum_i softmax_i(W_q x_i) x_i)): one weight per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(channels // 2, 1)
        self.query = nn.Conv2d(channels, 1, 1, bias=False)
        self.value = nn.Linear(channels, width, bias=False)
        self.up = nn.Linear(width, channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, C, 1, 1)."""
        attention = self.query(x).flatten(2).softmax(2)  # (B, 1, N)
        pooled = (x.flatten(2) @ attention.transpose(1, 2)).squeeze(2)  # (B, C)
        weights = torch.sigmoid(self.norm(self.up(self.value(pooled))))
        return weights.to(x.dtype)[:, :, None, None]  # autocast normalises in float32


class _Spatial(nn.Module):
    """sigmoid(softmax_d(W_q mean(x)) . W_v x_i): one weight per position i; d runs over C//2 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(channels // 2, 1)
        self.query = nn.Linear(channels, width, bias=False)
        self.value = nn.Linear(channels, width, bias=False)

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, 1, H, W)."""
        attention = self.query(x.mean((2, 3))).softmax(1)  # (B, C//2)
        mixed = (attention @ self.value.weight).unsqueeze(1)  # (B, 1, C)
        return torch.sigmoid(mixed @ x.flatten(2)).unflatten(2, x.shape[2:])


class _Polarized(nn.Module):
    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.channel = _Channel(channels)
        self.spatial = _Spatial(channels)


class PSAParallel(_Polarized):
    """Both from the same x, the scaled maps added: x * (channel + spatial).

    (B, C, H, W) -> the same shape.

    Args:
        channels: C; inside there are C//2.
        size: not used, the parameters serve every size.
    """

    def gate(self, x: Tensor) -> Tensor:
        """The sum of both weights, (B, C, H, W), between 0 and 2."""
        return outer_sum(x, self.channel.gate(x), self.spatial.gate(x))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class PSASequential(_Polarized):
    """The spatial attention on the output of the channel attention. (B, C, H, W) -> the same shape.

    The arguments are those of `PSAParallel`.
    """

    def gate(self, x: Tensor) -> Tensor:
        """The product of both weights, (B, C, H, W); the positions' come from the channel-wise scaled features."""
        channel = self.channel.gate(x)
        return channel * self.spatial.gate(x * channel)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.channel.gate(x)
        return x * self.spatial.gate(x)
