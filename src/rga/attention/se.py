"""SE: squeeze and excitation, one weight per channel."""

from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import SqueezeExcitation

from rga.attention.checks import reduced


class SE(SqueezeExcitation):
    """Squeeze-and-Excitation (Hu, Shen, Sun, CVPR 2018, arXiv:1709.01507, equations 2 to 4).

    (B, C, H, W) -> the same shape, x * sigmoid(W2 relu(W1 z)) with z the mean of each channel. W1 gives C//reduction
    channels, at least 1; 16 is the paper's ratio.

    It is torchvision's module, under the names `fc1` and `fc2` that timm's has as well. The equations show no biases;
    the authors' released models have them, and so has this one. timm's module rounds the width to a multiple of 8,
    which is another width than the paper's for most channel counts below 2048; this one does not.

    Args:
        channels: C.
        size: not used, the parameters serve every size.
        reduction: r of the paper.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, reduction: int = 16) -> None:
        super().__init__(channels, reduced(channels, reduction))

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, C, 1, 1)."""
        return self._scale(x)

    def _scale(self, input: Tensor) -> Tensor:
        """torchvision's, whose two convolutions of one position are matrix products: on a CPU those are faster."""
        means = self.avgpool(input).flatten(1)
        hidden = self.activation(F.linear(means, self.fc1.weight.flatten(1), self.fc1.bias))
        weights = self.scale_activation(F.linear(hidden, self.fc2.weight.flatten(1), self.fc2.bias))
        return weights[..., None, None]
