"""Demo data: small sets of synthetic images in the layouts of the real data sets, for the real readers to read.

`rga data demo NAME` calls what conf/data/NAME.yaml names as `demo_writer`.
"""

from pathlib import Path

import numpy as np

from rga.data import marker
from rga.data.base import ImageSplit
from rga.data.cifar.binary import CIFAR10, CIFAR100, Cifar
from rga.data.demo import shapes, street
from rga.data.demo.folders import write_image_folder, write_mask_folder
from rga.data.demo.reid_layouts import (
    write_dukemtmc,
    write_market1501,
    write_msmt17_v1,
    write_msmt17_v2,
    write_reid_table,
)
from rga.data.progress import watched
from rga.data.scenes import cityscapes

__all__ = [
    "write_cifar10",
    "write_cifar100",
    "write_cityscapes",
    "write_dukemtmc",
    "write_image_folder",
    "write_market1501",
    "write_mask_folder",
    "write_msmt17_v1",
    "write_msmt17_v2",
    "write_reid_table",
]

_SHAPES_VERSION = 2
_STREET_VERSION = 1


def write_cifar10(root: str | Path, *, train: int = 2000, test: int = 1000, seed: int = 0) -> Path:
    """Write a small synthetic set of ten classes (`rga.data.demo.shapes`) in CIFAR-10's layout, unless it is there.

    Args:
        root: the folder that will hold the files.
        train: images to train on.
        test: images to test on.
        seed: of the whole set.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    return _write_cifar(CIFAR10, root, train, test, seed)


def write_cifar100(root: str | Path, *, train: int = 2000, test: int = 1000, seed: int = 0) -> Path:
    """The same with a hundred classes in CIFAR-100's layout."""
    return _write_cifar(CIFAR100, root, train, test, seed)


def write_cityscapes(root: str | Path, *, train: int = 24, val: int = 8, size: int = 128, seed: int = 0) -> Path:
    """Write a small synthetic set of streets (`rga.data.demo.street`) in Cityscapes' layout, unless it is there.

    Args:
        root: the folder that will hold `leftImg8bit` and `gtFine`.
        train: images to train on.
        val: images to test on.
        size: their height; they are twice as wide.
        seed: of the whole set.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    options = {"version": _STREET_VERSION, "train": train, "val": val, "size": size, "seed": seed}
    if min(train, val) < 1 or size < 32:
        raise ValueError(f"train and val are at least 1, size is at least 32: {options}")

    def draw(folder: Path) -> dict[str, tuple[int, int]]:
        return {
            part: (count, _draw_streets(folder, part, count, size, [seed, number]))
            for number, (part, count) in enumerate((("train", train), ("val", val)))
        }

    return marker.write(root, options, draw)


def _draw_streets(folder: Path, part: str, count: int, size: int, key: list[int]) -> int:
    """Write a split; gives the number of classes in it."""
    images, labels = (folder / kind / part / "demo" for kind in (cityscapes.IMAGES, cityscapes.LABELS))
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    seen: set[int] = set()
    for number in watched(range(count), "drawing", count):
        image, label = street.draw(size, np.random.default_rng([*key, number]))
        name = f"demo_{number:06d}_000019"
        image.save(images / f"{name}{cityscapes.IMAGE}{cityscapes.SUFFIX}")
        label.save(labels / f"{name}{cityscapes.LABEL}{cityscapes.SUFFIX}")
        seen.update(np.unique(np.asarray(label)).tolist())
    return len(seen & {number for number, _, _ in cityscapes.CLASSES})


def _write_cifar(layout: Cifar, root: str | Path, train: int, test: int, seed: int) -> Path:
    classes = layout.labels[-1]
    options = {"version": _SHAPES_VERSION, "set": layout.title, "train": train, "test": test, "seed": seed}
    if min(train, test) < classes:
        raise ValueError(f"train and test are at least {classes}, an image of each class: {options}")

    def draw(folder: Path) -> dict[str, tuple[int, int]]:
        first, second = (shapes.draw(count, classes, (seed, part)) for part, count in enumerate((train, test)))
        layout.write(folder, ImageSplit(first, second, shapes.names(classes)))
        return {"train": (train, classes), "test": (test, classes)}

    return marker.write(root, options, draw)
