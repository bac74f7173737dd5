"""Learning-rate schedules: the factor of the base learning rate at a time in epochs, which is asked for in each step.

The time of step s of n in epoch e is e + s / n, counted from 0. Schedules of the field that change between epochs only
round it down.
"""

from collections.abc import Sequence
from math import cos, floor, pi


def warmup_steps(epoch: float, *, warmup: int, start: float, milestones: Sequence[int], gamma: float) -> float:
    """Rise linearly from `start` to 1 over `warmup` epochs, then multiply by `gamma` at each milestone."""
    whole = floor(epoch)
    rise = start + (1 - start) * whole / warmup if whole < warmup else 1.0
    return rise * gamma ** sum(whole >= milestone for milestone in milestones)


def resnet_steps(epoch: float, *, depth: int, milestones: Sequence[int], gamma: float, shrink: int = 1) -> float:
    """Multiply by `gamma` at each milestone; with 110 layers or more the first epoch has a tenth of the rate.

    He et al. (CVPR 2016, section 4.2) found 0.1 too large for ResNet-110 to start converging. `shrink` divides the
    layers, as in the network (`rga.backbones.cifar_resnet`).
    """
    warmup = 1 if depth // shrink >= 110 else 0
    return warmup_steps(epoch, warmup=warmup, start=0.1, milestones=milestones, gamma=gamma)


def poly(epoch: float, *, epochs: int, power: float = 0.9) -> float:
    """(1 - epoch / epochs) ** power, falling in each step, as segmentation has it."""
    return max(0.0, 1 - epoch / epochs) ** power


def cosine(epoch: float, *, epochs: int, warmup: int = 0, start: float = 0.0) -> float:
    """Rise linearly from `start` to 1 over `warmup` epochs, then fall to 0 along half a cosine, in each step.

    Loshchilov and Hutter (ICLR 2017), without restarts; with the warm-up as He et al. (CVPR 2019) have it.
    """
    if warmup >= epochs:
        raise ValueError(f"a warm-up of {warmup} epochs is longer than the training of {epochs}")
    if epoch < warmup:
        return start + (1 - start) * epoch / warmup
    return (1 + cos(pi * min(1.0, (epoch - warmup) / (epochs - warmup)))) / 2
