"""Losses that PyTorch does not have. (Cross entropy with label smoothing it has: `label_smoothing=0.1`.)"""

from rga.losses.triplet import BatchHardTriplet

__all__ = ["BatchHardTriplet"]
