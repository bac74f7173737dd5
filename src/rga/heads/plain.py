"""The head without context."""

from torch import nn


class Plain(nn.Sequential):
    """A fully convolutional head: (B, C, h, w) -> logits (B, classes, h, w).

    3x3 convolution to `width` channels, BatchNorm, ReLU, dropout, 1x1 convolution with a bias: the last layers of
    PSPNet (Zhao et al., CVPR 2017), so that PPM and this head differ in context only. It is torchvision's `FCNHead`
    with the same names; torchvision sets the width to C//4, which is the same 512 for ResNet's 2048 channels, but 1024
    where attention's result is concatenated to them: the row of attention would have a wider head as well.

    Args:
        channels: C.
        classes: of the logits.
        width: 512 behind the last stage; 256 is PSPNet's for the auxiliary loss on stage 3.
        dropout: probability, for each value by itself.
    """

    def __init__(self, channels: int, classes: int, *, width: int = 512, dropout: float = 0.1) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(width, classes, 1),
        )
