"""From files to batches: readers of the official layouts, and what each task does with what they give.

A data set is `conf/data/NAME.yaml`: it names the reader, the data module, and what draws demo data. A reader is a
module (`rga.data.market1501`) or an object in one (`rga.data.cifar.CIFAR10`) with `read(root)` and, for
`rga data check`, `check(root, name) -> Report` beside it. Everything after the reader is the same for all data sets of
a task.

`ImageData`, `ReIDData` and `ReIDAugment` are imported when they are first asked for, so that reading, checking and
writing demo data need no torch.
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
