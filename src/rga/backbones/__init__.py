"""Networks without their classifier, with weights from a download or a file, or for CIFAR from scratch."""

from rga.backbones.cifar_densenet import cifar_densenet
from rga.backbones.cifar_resnet import cifar_resnet
from rga.backbones.trunks import timm_trunk, torchvision_trunk

__all__ = ["cifar_densenet", "cifar_resnet", "timm_trunk", "torchvision_trunk"]
