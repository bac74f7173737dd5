"""Images of one's own and their masks, in two folders, and a file that says what the masks mean.

    images/train/a/0001.jpg    masks/train/a/0001.png    and so on in val, and test if there is one
    classes.yaml               see `rga.data.scenes.class_list`

An image and its mask have one name but for the ending. Masks are in a format that keeps numbers, such as PNG: a number
for each pixel, or a colour.
"""

from collections.abc import Iterator
from pathlib import Path

from rga.data import audit
from rga.data.base import SceneSplit
from rga.data.listing import is_left_behind, listing
from rga.data.scenes import annotated, class_list
from rga.errors import DataError

NAME = "mask_folder"
IMAGES, MASKS, CLASSES = "images", "masks", "classes.yaml"
PARTS = ("train", "val", "test")


def read(root: str | Path) -> SceneSplit:
    """Read the set in a folder.

    Raises:
        DataError: a folder, the file of the classes or the partner of an image is missing, or see `class_list.read`.
    """
    root = Path(root).expanduser()
    if missing := [name for name in (IMAGES, MASKS, CLASSES) if not (root / name).exists()]:
        raise DataError(
            f"no {' and no '.join(missing)} in {root.absolute()}: expected {IMAGES}/train, {MASKS}/train and so on and "
            f"{CLASSES}{'' if root.is_dir() else ' (the folder does not exist)'}"
        )
    classes = class_list.read(root / CLASSES)
    parts = [part for part in PARTS if _has(root, part)]
    return SceneSplit(
        {
            part: annotated.pair(root / IMAGES / part, *(_named(root / kind / part) for kind in (IMAGES, MASKS)))
            for part in parts
        },
        classes.names,
        classes.colours,
        classes.lookup,
        painted=classes.painted,
        others=list(_others(root, parts)),
        meaning=classes.meaning,
    )


def check(root: str | Path, name: str = NAME) -> audit.Report:
    """What `rga data check` says; there are no published counts to compare with."""
    return annotated.check(read(root), Path(root).expanduser(), Path(root), name, {})


def label_ids(root: str | Path) -> list[int]:
    """The numbers that the masks have for the classes; DataError where they are painted in colours alone."""
    file = Path(root).expanduser() / CLASSES
    if (ids := class_list.read(file).ids) is None:
        raise DataError(f"the classes in {file} have colours and no ids, so there are no numbers to write")
    return ids


def meaning(root: str | Path) -> str:
    """See `SceneSplit`."""
    return class_list.read(Path(root).expanduser() / CLASSES).meaning


def _has(root: Path, part: str) -> bool:
    """Whether a split is there; the test split may be missing."""
    images, masks = (root / kind / part for kind in (IMAGES, MASKS))
    if images.is_dir() != masks.is_dir():
        there, missing = (images, masks) if images.is_dir() else (masks, images)
        raise DataError(f"{there} is there, but {missing} is not")
    if part != "test" and not images.is_dir():
        raise DataError(f"there is no {images} and no {masks}")
    return images.is_dir()


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    for name in listing(folder).images:
        yield Path(name).with_suffix("").as_posix(), folder / name


def _others(root: Path, parts: list[str]) -> Iterator[Path]:
    for kind in (IMAGES, MASKS):
        beside = sorted((root / kind).iterdir())
        yield from (path for path in beside if path.name not in parts and not is_left_behind(path.name))
        yield from (root / kind / part / name for part in parts for name in listing(root / kind / part).others)
