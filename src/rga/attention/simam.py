"""SimAM: weights of single neurons from an energy function, without parameters."""

import torch.fx
from torch import Tensor, nn

from rga.attention.half import wide


class SimAM(nn.Module):
    """SimAM: x * sigmoid(1 / e), (B, C, H, W) -> the same shape, without parameters.

    1 / e = (x - m)^2 / (4 (v + regularization)) + 1/2 with m and v the mean and the variance of the channel: what is
    far from the mean of its channel stands out. The weights lie between sigmoid(1/2) = 0.62 and 1.

    Source: Yang, Zhang, Li, Xie, SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks,
    ICML 2021, equations 5 and 6, and figure 3. The equation of the variance divides by the M = H W neurons, the paper's
    figure 3 and the authors' code by M - 1, and so does this block (by 1 where M = 1).

    Args:
        channels, size: not used, there are no parameters.
        regularization: lambda of the paper.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, regularization: float = 1e-4) -> None:
        super().__init__()
        self.regularization = regularization

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, C, H, W)."""
        return _energy(x, self.regularization)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)

    def extra_repr(self) -> str:
        return f"regularization={self.regularization}"


@torch.fx.wrap
def _energy(x: Tensor, regularization: float) -> Tensor:
    """sigmoid(1 / e); the squares are float32 where x is float16."""
    features = wide(x)
    others = max(x.shape[2] * x.shape[3] - 1, 1)
    squares = (features - features.mean((2, 3), keepdim=True)).square()
    variance = squares.mean((2, 3), keepdim=True) * ((others + 1) / others)
    # One pass over the map instead of a division and a sum of its size, and in place: autograd keeps the result.
    return (squares * (0.25 / (variance + regularization))).add_(0.5).sigmoid_().to(x.dtype)
