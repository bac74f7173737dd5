"""Atrous spatial pyramid pooling."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3

from rga.attention.checks import check_values


class ASPP(nn.Module):
    """DeepLabv3's head (Chen et al., arXiv:1706.05587, section 3.3): (B, C, h, w) -> logits (B, classes, h, w).

    A 1x1 convolution, three 3x3 convolutions with dilation and the mean of the image, `width` channels each, are
    concatenated, fused by a 1x1 convolution to `width` channels, dropped out and classified by a 1x1 convolution. Each
    convolution but the last has no bias, BatchNorm and ReLU.

    The module is torchvision's. Its dropout of 0.5 is the authors' 0.1 here (the paper mentions none), and the 3x3
    convolution that torchvision's `DeepLabHead` has before the classifier is left out, as the paper has none.

    Args:
        channels: C.
        classes: of the logits.
        rates: the dilations; 12, 24, 36 are the paper's at output stride 8, 6, 12, 18 those at 16.
        width: of each branch.
        dropout: probability.

    Raises:
        ValueError: in training, if the batch has one image. See `check_values`.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        rates: Sequence[int] = (12, 24, 36),
        width: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.context = deeplabv3.ASPP(channels, rates, width)
        self.context.project[3] = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_values(x, self.context.convs[-1], 1)
        logits: Tensor = self.classifier(self.context(x))
        return logits
