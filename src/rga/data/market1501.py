"""Market-1501 (Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015), in its official layout.

    Market-1501-v15.09.15/
        bounding_box_train/0002_c1s1_000451_03.jpg    identity 2, camera 1, sequence 1, frame 451, box 3
        query/0001_c1s1_001051_00.jpg
        bounding_box_test/0001_c1s1_001051_03.jpg     `0000_...` distractors, `-1_...` junk

Distractors (wrong detections) stay in the gallery, with identity 0; junk (boxes that are neither right nor wrong) is
left out, as the data set's protocol says. Other data sets in the same layout can be read with the same function.
"""

import re
from pathlib import Path

from rga.data import audit
from rga.data.base import DataError, Sample, Split, cameras, identities, shorten

NAME = "market1501"
TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
FOLDERS = ("Market-1501-v15.09.15", "market1501")  # the archive's own folder, and the name that torchreid users give it
DISTRACTOR, JUNK = 0, -1

# Images, identities and cameras of each part. The data set's page counts 2,793 distractors; the archive that is
# distributed, and the index of its test images (testID.mat), hold 2,798.
PUBLISHED = {
    "train": (12_936, 751, 6),
    "query": (3_368, 750, 6),
    "gallery": (13_115, 750, 6),
    "distractors": (2_798, 1, 6),
    "junk": (3_819, 1, 6),
}

_NAME = re.compile(r"(-1|\d{4})_c(\d+)s\d+_\d+_\d+\.jpg")


def read(root: str | Path) -> Split:
    """Read the data set below `root`: the folder with the three parts, or its parent.

    Raises:
        DataError: a part is missing or empty, or a picture's name does not say whom it shows.
    """
    split, strangers = scan(root)
    if strangers:
        raise DataError(
            f"{len(strangers)} pictures in {locate(root)} have names that are not like 0002_c1s1_000451_03.jpg: "
            f"{shorten([f'{path.parent.name}/{path.name}' for path in strangers])}"
        )
    return split


def scan(root: str | Path) -> tuple[Split, list[Path]]:
    """As `read`, with the pictures whose names do not parse given back instead of refused."""
    folder = locate(root)
    strangers: list[Path] = []
    parts = {name: _samples(folder / name, strangers) for name in (TRAIN, QUERY, GALLERY)}
    empty = [
        name for name, samples in parts.items() if not samples and not any(p.parent.name == name for p in strangers)
    ]
    if empty:
        raise DataError(f"no .jpg in {', '.join(empty)} of {folder}: is the data set unpacked completely?")
    known = {name: [sample for sample in samples if sample.identity > DISTRACTOR] for name, samples in parts.items()}
    gallery = [sample for sample in parts[GALLERY] if sample.identity >= DISTRACTOR]
    kept = {*known[TRAIN], *known[QUERY], *gallery}
    ignored = [sample for samples in parts.values() for sample in samples if sample not in kept]
    return Split(known[TRAIN], known[QUERY], gallery, ignored), strangers


def check(root: str | Path, name: str = NAME) -> audit.Report:
    """What `rga data check` says; sets in this layout with another name are not compared with the published counts."""
    split, strangers = scan(root)
    found = {part: (len(s), len(identities(s)), len(cameras(s))) for part, s in parts(split).items()}
    rows, source = audit.rows(locate(root), found, PUBLISHED if name == NAME else {})
    problems = []
    if strangers:
        problems.append(f"{len(strangers)} names that do not parse: {shorten([str(path) for path in strangers])}")
    if shared := set(identities(split.train)) & set(identities(split.query)):
        problems.append(
            f"{len(shared)} identities are in the training and in the test part: {shorten([*map(str, sorted(shared))])}"
        )
    problems += audit.unreadable(
        [*(sample.path for samples in parts(split).values() for sample in samples), *strangers]
    )
    return audit.Report(name, Path(root), ("images", "identities", "cameras"), rows, source, problems)


def parts(split: Split) -> dict[str, list[Sample]]:
    """The rows of a check, under the names of `PUBLISHED`."""
    return {
        "train": split.train,
        "query": split.query,
        "gallery": [sample for sample in split.gallery if sample.identity != DISTRACTOR],
        "distractors": [sample for sample in split.gallery if sample.identity == DISTRACTOR],
        "junk": split.ignored,
    }


def locate(root: str | Path) -> Path:
    """The folder with the three parts: `root` itself or one of `FOLDERS` in it."""
    root = Path(root).expanduser()
    for folder in (root, *(root / name for name in FOLDERS)):
        missing = [name for name in (TRAIN, QUERY, GALLERY) if not (folder / name).is_dir()]
        if not missing:
            return folder
        if len(missing) < 3:
            raise DataError(f"half of Market-1501: {folder} lacks {', '.join(missing)}")
    raise DataError(
        f"no Market-1501 in {root.absolute()}: expected the folders {TRAIN}, {QUERY} and {GALLERY} there, "
        f"or in {' or '.join(FOLDERS)} below it" + ("" if root.is_dir() else " (the folder does not exist)")
    )


def _samples(folder: Path, strangers: list[Path]) -> list[Sample]:
    samples = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.suffix != ".jpg" or path.name.startswith("."):  # Thumbs.db, and what file browsers leave
            continue
        if match := _NAME.fullmatch(path.name):
            samples.append(Sample(path, int(match[1]), int(match[2])))
        else:
            strangers.append(path)
    return samples
