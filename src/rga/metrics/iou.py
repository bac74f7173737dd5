"""Intersection over union of the classes of a segmentation."""

from torch import Tensor


def intersection_over_union(confusion: Tensor) -> Tensor:
    """IoU of each class over a whole data set, (K,) in double precision.

    A class that is neither labelled nor predicted anywhere has no IoU, it is NaN and not 0; so `nanmean` is the mIoU.

    Args:
        confusion: (K, K) pixels, labelled as the row's class and predicted as the column's.
    """
    confusion = confusion.double()
    both = confusion.diagonal()
    return both / (confusion.sum(0) + confusion.sum(1) - both)  # 0 / 0 is NaN
