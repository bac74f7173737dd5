"""What all sets of pictures with a label for each pixel share: finding, pairing, decoding and checking their files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rga.data import audit, pictures
from rga.data.base import IGNORED, UNKNOWN, DataError, Scene, SceneSplit, shorten

Pixels = NDArray[np.uint8]


def locate(root: str | Path, title: str, inside: Sequence[str], needed: Sequence[str], source: str) -> Path:
    """The folder with the folders `needed`: `root` itself or one of `inside` in it.

    Args:
        root: where to look.
        title: the data set's.
        inside: the names that its folder may have.
        needed: the folders in it, all of them.
        source: what to download.

    Raises:
        DataError: some or all are missing.
    """
    root = Path(root).expanduser()
    for folder in (root, *(root / name for name in inside)):
        missing = [name for name in needed if not (folder / name).is_dir()]
        if not missing:
            return folder
        if len(missing) < len(needed):
            raise DataError(f"half of {title}: {folder} lacks {', '.join(missing)}; {source}")
    raise DataError(
        f"no {title} in {root.absolute()}: expected the folders {', '.join(needed)} there, or in "
        f"{' or '.join(inside)} below it{'' if root.is_dir() else ' (the folder does not exist)'}; {source}"
    )


def pair(folder: Path, images: Iterable[tuple[str, Path]], labels: Iterable[tuple[str, Path]]) -> list[Scene]:
    """The scenes of a part in the order of their names, which is the same on every file system.

    Args:
        folder: where the images lie, for messages.
        images: their names and files.
        labels: the same names with the files of the labels.

    Raises:
        DataError: there is none, a partner is missing, or two files have one name.
    """
    found, partners = _by_name(images), _by_name(labels)
    if not found and not partners:
        raise DataError(f"no pictures in {folder}: is the data set unpacked completely?")
    for here, there, what in ((found, partners, "no label"), (partners, found, "a label and no image")):
        if alone := sorted(here.keys() - there.keys()):
            raise DataError(
                f"{len(alone)} pictures in {folder} have {what}: {shorten([str(here[name]) for name in alone])}"
            )
    return [Scene(found[name], partners[name], name) for name in sorted(found)]


def _by_name(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, path in files:
        if name in found:
            raise DataError(f"{found[name]} and {path} have one name: keep one of them")
        found[name] = path
    return found


def load(scene: Scene, lookup: Pixels) -> tuple[Pixels, Pixels]:
    """Decode a scene: the image, (H, W, 3) RGB, and its labels, (H, W), as `lookup` translates them.

    Raises:
        DataError: a file cannot be decoded, the two have different sizes, or a label has a number that does not exist.
    """
    image, numbers = pictures.load(scene.image), _numbers(scene.label)
    if image.shape[:2] != numbers.shape:
        raise DataError(
            f"{scene.image} is {image.shape[0]} x {image.shape[1]} (height x width), "
            f"its label {scene.label} {numbers.shape[0]} x {numbers.shape[1]}"
        )
    label = lookup[numbers]
    if wrong := np.unique(numbers[label == UNKNOWN]).tolist():
        raise DataError(
            f"{scene.label} has labels that do not exist: {shorten([*map(str, wrong)])}; "
            f"there are {', '.join(map(_range, _runs(np.flatnonzero(lookup != UNKNOWN).tolist())))}"
        )
    return image, label


def _numbers(path: Path) -> Pixels:
    """The numbers of a label's pixels, (H, W)."""
    try:
        with Image.open(path) as file:
            numbers = np.asarray(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # all that Pillow's readers raise
        raise DataError(f"cannot read the label {path}: {error}") from error
    if numbers.ndim != 2 or numbers.dtype != np.uint8:
        raise DataError(
            f"the label {path} is a picture in colours or of another depth: expected one byte for each pixel, its label"
        )
    return numbers


def _runs(numbers: list[int]) -> list[list[int]]:
    """Sorted numbers in runs of neighbours."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _range(run: list[int]) -> str:
    return f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}"


def check(
    split: SceneSplit, folder: Path, root: Path, name: str, published: dict[str, tuple[int, int]]
) -> audit.Report:
    """What `rga data check` says: every image and label is decoded, and the classes that occur are counted."""
    found, problems = {}, []
    for part, scenes in split.parts.items():
        labels, wrong = audit.attempt(scenes, lambda scene: set(np.unique(load(scene, split.lookup)[1]).tolist()))
        found[part] = (len(scenes), len(set().union(*labels) - {IGNORED}))
        problems += wrong
    rows, source = audit.rows(folder, found, published)
    return audit.Report(name, root, ("images", "classes"), rows, source, problems)
