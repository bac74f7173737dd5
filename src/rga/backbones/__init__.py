"""Networks without their classifier, with weights from a download or a file."""

from rga.backbones.trunks import timm_trunk, torchvision_trunk

__all__ = ["timm_trunk", "torchvision_trunk"]
