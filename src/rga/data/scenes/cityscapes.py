"""Cityscapes (Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016), fine labels.

    leftImg8bit/{train,val}/aachen/aachen_000000_000019_leftImg8bit.png
    gtFine/{train,val}/aachen/aachen_000000_000019_gtFine_labelIds.png

The files hold label ids of 0 to 33, of which the benchmark evaluates 19, the train ids; the others are ignored, and so
is 255 (-1). Where there are no `labelIds` at all, `labelTrainIds` are read: 0 to 18, and 255. The labels of the test
split are not public; it is not read (`rga predict --ids` writes what the benchmark wants).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rga.data import audit
from rga.data.base import IGNORED, UNKNOWN, Scene, SceneSplit
from rga.data.decoding import SUFFIXES
from rga.data.listing import listing, locate
from rga.data.scenes import annotated
from rga.errors import DataError

NAME = "cityscapes"
IMAGES, LABELS = "leftImg8bit", "gtFine"
IMAGE, LABEL, TRAIN_LABEL = "_leftImg8bit", "_gtFine_labelIds", "_gtFine_labelTrainIds"
SUFFIX = ".png"  # of labels, in any case; images may be of any kind
PUBLISHED_LABELS = tuple(
    f"_gtFine_{kind}" for kind in ("color", "instanceIds", "instanceTrainIds", "labelIds", "labelTrainIds", "polygons")
)
PARTS = ("train", "val")
FOLDERS = ("cityscapes", "Cityscapes")
SOURCE = (
    "download leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com "
    "(with an account) and unpack both into one folder"
)

PUBLISHED = {"train": (2_975, 19), "val": (500, 19)}  # images, classes

IDS = 34  # 0 .. 33; a license plate is -1 and not in the labels
CLASSES = (  # in the order of the train ids: label id, name, colour
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)

MISTAKE = (
    f"hold no number above {len(CLASSES) - 1}, though sky, trees and cars are above: these are train ids. "
    f"Name the files *{TRAIN_LABEL}{SUFFIX}, and they are read as such"
)


def read(root: str | Path) -> SceneSplit:
    """Read the data set below `root`: the folder with `leftImg8bit` and `gtFine`, or its parent.

    Raises:
        DataError: a split or the partner of a file is missing.
    """
    folder = _folder(root)
    lookup, mistake = np.full(256, UNKNOWN, np.uint8), None
    ending = _labels(folder)
    if ending == LABEL:
        lookup[:IDS] = IGNORED
        lookup[label_ids()] = range(len(CLASSES))
        mistake = frozenset([*range(len(CLASSES)), 255]), MISTAKE
    else:
        lookup[: len(CLASSES)] = range(len(CLASSES))
    lookup[255] = IGNORED
    return SceneSplit(
        {part: _scenes(folder, part, ending) for part in PARTS},
        [name for _, name, _ in CLASSES],
        np.array([colour for _, _, colour in CLASSES], np.uint8),
        lookup,
        mistake=mistake,
        others=[path for part in PARTS for path in _others(folder, part, ending)],
    )


def check(root: str | Path, name: str = NAME) -> audit.Report:
    """What `rga data check` says; sets in this layout with another name are not compared with the published counts."""
    return annotated.check(read(root), _folder(root), Path(root), name, PUBLISHED if name == NAME else {})


def _folder(root: str | Path) -> Path:
    """The folder with `leftImg8bit` and `gtFine`: `root` itself or one of `FOLDERS` in it."""
    needed = [f"{kind}/{part}" for kind in (IMAGES, LABELS) for part in PARTS]
    return locate(root, "Cityscapes", FOLDERS, needed, source=SOURCE)


def label_ids(root: object = None) -> list[int]:
    """The label ids of the classes, in their order: what the benchmark wants to be handed in."""
    return [number for number, _, _ in CLASSES]


def _labels(folder: Path) -> str:
    """How the names of the label files end: of label ids, or of train ids where there is none of them."""
    for ending in (LABEL, TRAIN_LABEL):
        if any(any(_named(folder / LABELS / part, ending)) for part in PARTS):
            return ending
    raise DataError(
        f"no labels in {folder / LABELS}: expected {PARTS[0]}/CITY/*{LABEL}{SUFFIX} or *{TRAIN_LABEL}{SUFFIX}. "
        "Colours will not do (a group of poles has that of a pole); of the polygons (json) "
        "csCreateTrainIdLabelImgs of the package cityscapesscripts makes labels"
    )


def _scenes(folder: Path, part: str, ending: str) -> list[Scene]:
    images = folder / IMAGES / part
    return annotated.pair(images, _named(images, IMAGE, SUFFIXES), _named(folder / LABELS / part, ending))


def _named(folder: Path, ending: str, suffixes: Sequence[str] = (SUFFIX,)) -> Iterator[tuple[str, Path]]:
    """The files with an ending in the folders of the cities, by the names that come before it."""
    for name in listing(folder).images:
        path = folder / name
        if path.suffix.lower() in suffixes and path.stem.endswith(ending):
            yield path.stem.removesuffix(ending), path


def _others(folder: Path, part: str, ending: str) -> list[Path]:
    """What is not read, but for the other kinds of labels that are published."""
    images, labels = folder / IMAGES / part, folder / LABELS / part
    read = {path for _, path in (*_named(images, IMAGE, SUFFIXES), *_named(labels, ending))}
    present = [top / name for top in (images, labels) for names in listing(top) for name in names]
    return [path for path in present if path not in read and not path.stem.endswith(PUBLISHED_LABELS)]
