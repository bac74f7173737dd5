"""The pyramid pooling module."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention.checks import check_values
from rga.heads.plain import Plain


class PPM(nn.Module):
    """PSPNet's head (Zhao et al., CVPR 2017, arXiv:1612.01105): (B, C, h, w) -> logits (B, classes, h, w).

    The means of 1x1, 2x2, 3x3 and 6x6 regions, each embedded into C//(number of bins) channels (1x1 convolution without
    bias, BatchNorm, ReLU), enlarged bilinearly to the map and concatenated with it; `Plain` behind that.

    What differs from the authors' code: it enlarges with the outermost regions' centres on the border of the map
    (`align_corners=True`); here the centres are where the regions were.

    Args:
        channels: C.
        classes: of the logits.
        bins: the regions along each side, one number per level.
        width, dropout: of `Plain`.

    Raises:
        ValueError: no levels; in training, if the batch has one image and a level has one region. See `check_values`.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        bins: Sequence[int] = (1, 2, 3, 6),
        width: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not bins or min(bins) < 1:
            raise ValueError(f"bins={list(bins)}: expected at least one level, and regions from 1 on")
        self.bins, each = tuple(bins), channels // len(bins)
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(bin),
                nn.Conv2d(channels, each, 1, bias=False),
                nn.BatchNorm2d(each),
                nn.ReLU(inplace=True),
            )
            for bin in bins
        )
        self.classifier = Plain(channels + len(bins) * each, classes, width=width, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for bins, level in zip(self.bins, self.levels, strict=True):
            if bins == 1:
                check_values(x, level, 1)
            maps.append(F.interpolate(level(x), size=x.shape[2:], mode="bilinear"))
        logits: Tensor = self.classifier(torch.cat(maps, dim=1))
        return logits
