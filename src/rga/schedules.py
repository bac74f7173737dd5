"""Learning-rate schedules: the factor of the base learning rate in each epoch (counted from 0)."""

from collections.abc import Sequence


def warmup_steps(epoch: int, *, warmup: int, start: float, milestones: Sequence[int], gamma: float) -> float:
    """Rise linearly from `start` to 1 over `warmup` epochs, then multiply by `gamma` at each milestone."""
    rise = start + (1 - start) * epoch / warmup if epoch < warmup else 1.0
    return rise * gamma ** sum(epoch >= milestone for milestone in milestones)
