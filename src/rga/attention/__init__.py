"""Attention blocks: `block(channels, size)` gives a module that keeps the shape (B, C, H, W) of a feature map."""

from rga.attention.any_size import AnySize
from rga.attention.cbam import CBAM, CBAMC, CBAMS
from rga.attention.channel import RGAC
from rga.attention.combined import RGACS, RGASC, RGAParallel
from rga.attention.fc import FCC, FCS, FCParallel
from rga.attention.nonlocal_ import NonLocal, NonLocalRGAS
from rga.attention.se import SE
from rga.attention.spatial import RGAS

__all__ = [
    "CBAM",
    "CBAMC",
    "CBAMS",
    "FCC",
    "FCS",
    "RGAC",
    "RGACS",
    "RGAS",
    "RGASC",
    "SE",
    "AnySize",
    "FCParallel",
    "NonLocal",
    "NonLocalRGAS",
    "RGAParallel",
]
