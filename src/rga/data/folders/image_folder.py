"""Images in folders named by their classes: the layout of ImageNet and of torchvision's `ImageFolder`.

    train/cat/0001.jpg    train/dog/0001.jpg
    val/cat/0417.jpg      val/dog/0093.jpg

The classes are the folders in `train`, in the order of their names; images may lie in folders below them. The network
is tested on `val`, which no choice is made by.
"""

from collections import Counter
from pathlib import Path

from rga.data import audit, counts
from rga.data.base import FileSplit, LabelledFile, shorten
from rga.data.decoding import SUFFIXES
from rga.data.listing import is_hidden, is_left_behind, left_out, listing
from rga.data.marker import MARKER
from rga.errors import DataError
from rga.printing import is_plain

NAME = "image_folder"
PARTS = TRAIN, VAL = ("train", "val")


def read(root: str | Path) -> FileSplit:
    """Read the set in a folder.

    Raises:
        DataError: a split is missing, there is one class or none, one has no images to train on, or a class is tested
            and not trained.
    """
    root = Path(root).expanduser()
    if missing := [part for part in PARTS if not (root / part).is_dir()]:
        raise DataError(
            f"no {' and no '.join(missing)} in {root.absolute()}: expected {TRAIN}/CLASS/... and {VAL}/CLASS/... there"
            f"{'' if root.is_dir() else ' (the folder does not exist)'}"
        )
    found: dict[str, dict[str, list[Path]]] = {}
    beside = sorted(path for path in root.iterdir() if path.name not in (*PARTS, MARKER))
    others = [path for path in beside if not is_left_behind(path.name) and not is_hidden(path.name)]
    for part in PARTS:
        images, rest = listing(root / part)
        others += [root / part / name for name in rest]
        folders = (path.name for path in (root / part).iterdir() if path.is_dir())
        found[part] = {folder: [] for folder in folders if not is_hidden(folder)}
        for name in images:
            folder, slash, _ = name.partition("/")
            (found[part][folder] if slash else others).append(root / part / name)
    classes = sorted(found[TRAIN])
    if unseen := [name for name in classes if not is_plain(name)]:
        raise DataError(f"the class {unseen[0]!r} has characters in its name that are not seen: rename its folder")
    if len(classes) < 2:
        raise DataError(
            f"{root / TRAIN} has {len(classes)} folders, one for each class: a classifier needs two or more"
        )
    if empty := [name for name in classes if not found[TRAIN][name]]:
        raise DataError(f"{len(empty)} classes have no images in {root / TRAIN}: {shorten(empty)}")
    if strange := sorted(found[VAL].keys() - found[TRAIN].keys()):
        raise DataError(f"{len(strange)} classes in {root / VAL} are not in {root / TRAIN}: {shorten(strange)}")
    if linked := [name for name in sorted(found[VAL]) if (root / VAL / name).samefile(root / TRAIN / name)]:
        raise DataError(
            f"{len(linked)} classes in {root / VAL} are those of {root / TRAIN} by a link, so the network would be "
            f"tested on what it has learned: {shorten(linked)}"
        )
    if not any(found[VAL].values()):
        flat = sum(path.parent == root / VAL and path.name.lower().endswith(SUFFIXES) for path in others)
        why = (
            f"{flat:,} lie in it themselves, as ImageNet's do when they are unpacked: sort them into folders by class"
            if flat
            else "is the data set unpacked completely?"
        )
        raise DataError(f"no images in folders of {root / VAL}: {why}")
    files = {
        part: [LabelledFile(path, label) for label, name in enumerate(classes) for path in of.get(name, [])]
        for part, of in found.items()
    }
    return FileSplit(files[TRAIN], files[VAL], classes, others)


def check(root: str | Path, name: str = NAME) -> audit.Report:
    """What `rga data check` says; there are no published counts to compare with."""
    split, root = read(root), Path(root).expanduser()
    parts = {TRAIN: split.train, VAL: split.val}
    times = {part: Counter(file.label for file in files) for part, files in parts.items()}
    found = {part: (len(files), len(times[part])) for part, files in parts.items()}
    details = [
        f"{part}: {counts.per('class', {name: times[part][label] for label, name in enumerate(split.classes)})}"
        for part in parts
    ]
    rows, source = audit.rows(root, found, {})
    problems = audit.unreadable(file.path for files in parts.values() for file in files)
    notes = left_out(root, split.others, f"beside {TRAIN} and {VAL}, or no images by their names")
    if untested := [name for label, name in enumerate(split.classes) if not times[VAL][label]]:
        notes.append(f"{len(untested)} classes have no images to test on: {shorten(untested)}")
    return audit.Report(name, root, ("images", "classes"), rows, source, problems, notes, details)
