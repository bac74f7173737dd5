"""Learning-rate schedules: the factor of the base learning rate in each epoch (counted from 0)."""

from collections.abc import Sequence


def warmup_steps(epoch: int, *, warmup: int, start: float, milestones: Sequence[int], gamma: float) -> float:
    """Rise linearly from `start` to 1 over `warmup` epochs, then multiply by `gamma` at each milestone."""
    rise = start + (1 - start) * epoch / warmup if epoch < warmup else 1.0
    return rise * gamma ** sum(epoch >= milestone for milestone in milestones)


def resnet_steps(epoch: int, *, depth: int, milestones: Sequence[int], gamma: float) -> float:
    """Multiply by `gamma` at each milestone; with 110 layers or more the first epoch has a tenth of the rate.

    He et al. (CVPR 2016, section 4.2) found 0.1 too large for ResNet-110 to start converging.
    """
    return warmup_steps(epoch, warmup=1 if depth >= 110 else 0, start=0.1, milestones=milestones, gamma=gamma)
