"""Segmentation heads, `head(channels, classes)`: features (B, C, h, w) -> logits (B, classes, h, w)."""

from rga.heads.aspp import ASPP
from rga.heads.plain import Plain
from rga.heads.ppm import PPM
from rga.heads.segmenter import Segmenter

__all__ = ["ASPP", "PPM", "Plain", "Segmenter"]
