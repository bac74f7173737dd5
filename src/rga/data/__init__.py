"""From image files to batches: readers of the official layouts, an image store, a sampler, augmentation.

One reader is one module (`rga.data.market1501`): `read(root) -> Split`, and for `rga data check` also `locate`, `scan`,
`parts` and `PUBLISHED`. Everything after the reader is the same for every re-identification data set.

`ReIDData` and `ReIDAugment` are imported when they are first asked for, so that reading, checking and writing demo
data need no torch.
"""

from typing import TYPE_CHECKING, Any

from rga.data.audit import Report, check
from rga.data.base import DataError, ImageSplit, LabelledImages, Sample, Split

if TYPE_CHECKING:
    from rga.data.augment import ReIDAugment
    from rga.data.images import ImageData
    from rga.data.reid import ReIDData

__all__ = [
    "DataError",
    "ImageData",
    "ImageSplit",
    "LabelledImages",
    "ReIDAugment",
    "ReIDData",
    "Report",
    "Sample",
    "Split",
    "check",
]


def __getattr__(name: str) -> Any:
    if name == "ReIDAugment":
        from rga.data.augment import ReIDAugment

        return ReIDAugment
    if name == "ImageData":
        from rga.data.images import ImageData

        return ImageData
    if name == "ReIDData":
        from rga.data.reid import ReIDData

        return ReIDData
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
