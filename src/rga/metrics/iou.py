"""Intersection over union of the classes of a segmentation."""

from torch import Tensor


def intersection_over_union(confusion: Tensor) -> Tensor:
    """IoU of each class over a whole data set, (K,) in double precision.

    A class that is neither labelled nor predicted anywhere has no IoU, it is NaN and not 0; so `nanmean` is the mIoU.

    Args:
        confusion: (K, K) pixels, labelled as the row's class and predicted as the column's.

    Examples:
        >>> import torch
        >>> intersection_over_union(torch.tensor([[6, 2], [0, 4]]))
        tensor([0.7500, 0.6667], dtype=torch.float64)
    """
    confusion = confusion.double()
    both = confusion.diagonal()
    return both / (confusion.sum(0) + confusion.sum(1) - both)  # 0 / 0 is NaN
