"""Attention blocks: `block(channels, size)` gives a module that keeps the shape (B, C, H, W) of a feature map.

Examples:
    >>> import torch
    >>> x = torch.rand(2, 64, 16, 8)
    >>> [tuple(block(64, (16, 8))(x).shape) for block in (RGASC, SE, CBAM, NonLocal)]
    [(2, 64, 16, 8), (2, 64, 16, 8), (2, 64, 16, 8), (2, 64, 16, 8)]
"""

from rga.attention.any_size import AnySize
from rga.attention.bam import BAM
from rga.attention.cbam import CBAM, CBAMC, CBAMS
from rga.attention.coordinate import Coordinate
from rga.attention.dual import DANet
from rga.attention.fc import FCC, FCS, FCParallel
from rga.attention.global_context import GC
from rga.attention.large_kernel import LKA
from rga.attention.nonlocal_ import NonLocal, NonLocalRGAS
from rga.attention.polarized import PSAParallel, PSASequential
from rga.attention.residual import ResidualAttention
from rga.attention.rga import RGAC, RGACS, RGAS, RGASC, RGAParallel
from rga.attention.scse import SCSE
from rga.attention.se import SE
from rga.attention.self_calibrated import SelfCalibrated
from rga.attention.simam import SimAM
from rga.attention.strip_pooling import StripPooling
from rga.attention.triplet_attention import Triplet

__all__ = [
    "BAM",
    "CBAM",
    "CBAMC",
    "CBAMS",
    "FCC",
    "FCS",
    "GC",
    "LKA",
    "RGAC",
    "RGACS",
    "RGAS",
    "RGASC",
    "SCSE",
    "SE",
    "AnySize",
    "Coordinate",
    "DANet",
    "FCParallel",
    "NonLocal",
    "NonLocalRGAS",
    "PSAParallel",
    "PSASequential",
    "RGAParallel",
    "ResidualAttention",
    "SelfCalibrated",
    "SimAM",
    "StripPooling",
    "Triplet",
]
