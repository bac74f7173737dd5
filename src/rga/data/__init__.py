"""From files to batches: readers of the official layouts, and what each task does with what they give.

A data set is `conf/data/NAME.yaml`: it names the reader, the data module, and what writes demo data. A reader is a
module (`rga.data.reid.market1501`) or an object in one (`rga.data.cifar.binary.CIFAR10`) with `read(root)` and, for
`rga data check`, `check(root, name) -> Report` beside it. Everything after the reader is the same for all data sets of
a task.

`FolderData`, `ImageData`, `ReIDData`, `ReIDAugment` and `SceneData` are imported when they are first asked for, so
that reading, checking and writing demo data need no torch.
"""

from typing import TYPE_CHECKING, Any

from rga.data.audit import Report, check
from rga.data.base import FileSplit, ImageSplit, LabelledFile, LabelledImages, Sample, Scene, SceneSplit, Split

if TYPE_CHECKING:
    from rga.data.cifar.image_data import ImageData
    from rga.data.folders.folder_data import FolderData
    from rga.data.reid.augment import ReIDAugment
    from rga.data.reid.reid_data import ReIDData
    from rga.data.scenes.scene_data import SceneData

__all__ = [
    "FileSplit",
    "FolderData",
    "ImageData",
    "ImageSplit",
    "LabelledFile",
    "LabelledImages",
    "ReIDAugment",
    "ReIDData",
    "Report",
    "Sample",
    "Scene",
    "SceneData",
    "SceneSplit",
    "Split",
    "check",
]


def __getattr__(name: str) -> Any:
    if name == "ReIDAugment":
        from rga.data.reid.augment import ReIDAugment

        return ReIDAugment
    if name == "FolderData":
        from rga.data.folders.folder_data import FolderData

        return FolderData
    if name == "ImageData":
        from rga.data.cifar.image_data import ImageData

        return ImageData
    if name == "ReIDData":
        from rga.data.reid.reid_data import ReIDData

        return ReIDData
    if name == "SceneData":
        from rga.data.scenes.scene_data import SceneData

        return SceneData
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
