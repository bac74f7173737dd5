"""Learning-rate schedules: the factor of the base learning rate at a time in epochs, which is asked for in each step.

The time of step s of n in epoch e is e + s / n, counted from 0. Schedules of the field that change between epochs only
round it down.
"""

from collections.abc import Sequence
from math import floor


def warmup_steps(epoch: float, *, warmup: int, start: float, milestones: Sequence[int], gamma: float) -> float:
    """Rise linearly from `start` to 1 over `warmup` epochs, then multiply by `gamma` at each milestone."""
    whole = floor(epoch)
    rise = start + (1 - start) * whole / warmup if whole < warmup else 1.0
    return rise * gamma ** sum(whole >= milestone for milestone in milestones)


def resnet_steps(epoch: float, *, depth: int, milestones: Sequence[int], gamma: float) -> float:
    """Multiply by `gamma` at each milestone; with 110 layers or more the first epoch has a tenth of the rate.

    He et al. (CVPR 2016, section 4.2) found 0.1 too large for ResNet-110 to start converging.
    """
    return warmup_steps(epoch, warmup=1 if depth >= 110 else 0, start=0.1, milestones=milestones, gamma=gamma)


def poly(epoch: float, *, epochs: int, power: float = 0.9) -> float:
    """(1 - epoch / epochs) ** power, falling in each step, as segmentation has it."""
    return max(0.0, 1 - epoch / epochs) ** power
