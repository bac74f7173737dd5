"""Attention blocks: `block(channels, size)` gives a module that keeps the shape (B, C, H, W) of a feature map."""

from rga.attention.channel import RGAC
from rga.attention.combined import RGACS, RGASC, RGAParallel
from rga.attention.spatial import RGAS

__all__ = ["RGAC", "RGACS", "RGAS", "RGASC", "RGAParallel"]
