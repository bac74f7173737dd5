"""Market-1501 (Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015), in its official layout.

    Market-1501-v15.09.15/
        bounding_box_train/0002_c1s1_000451_03.jpg    identity 2, camera 1, sequence 1, frame 451, box 3
        query/0001_c1s1_001051_00.jpg
        bounding_box_test/0001_c1s1_001051_03.jpg     `0000_...` distractors, `-1_...` junk

Distractors (wrong detections) stay in the gallery, with identity 0, which nobody asks for; junk (boxes that are neither
right nor wrong) is left out, as the data set's protocol says. Other data sets in the same layout can be read with the
same function; their identities may begin at 0. Images may be of any kind (.jpg, .JPG, .png, ...).
"""

import re
from pathlib import Path

from rga.data import audit
from rga.data.base import Sample, Split
from rga.data.reid import boxes

NAME = "market1501"
TRAIN, QUERY, GALLERY = boxes.PARTS
FOLDERS = ("Market-1501-v15.09.15", "market1501", "market1501/Market-1501-v15.09.15")  # the archive's, and torchreid's
DISTRACTOR, JUNK = 0, -1

# Images, identities and cameras of each split. The data set's page counts 2,793 distractors; the archive that is
# distributed, and the index of its test images (testID.mat), hold 2,798.
PUBLISHED = {
    "train": (12_936, 751, 6),
    "query": (3_368, 750, 6),
    "gallery": (13_115, 750, 6),
    "distractors": (2_798, 1, 6),
    "junk": (3_819, 1, 6),
}

_LAYOUT = boxes.Boxes("Market-1501", FOLDERS, re.compile(r"(-1|\d{4,})_c(\d+)s\d+_\d+_\d+"), "0002_c1s1_000451_03.jpg")
locate = _LAYOUT.locate


def read(root: str | Path) -> Split:
    """Read the data set below `root`: the folder with the three splits, or its parent.

    Raises:
        DataError: a split is missing or empty, or an image's name does not say whom it shows.
    """
    split, strangers = scan(root)
    _LAYOUT.refuse(strangers)
    return split


def scan(root: str | Path) -> tuple[Split, list[Path]]:
    """As `read`, with the images whose names do not parse given back instead of refused."""
    parts, strangers, others = _LAYOUT.scan(root)
    known = {part: [sample for sample in samples if sample.identity != JUNK] for part, samples in parts.items()}
    ignored = [sample for samples in parts.values() for sample in samples if sample.identity == JUNK]
    return Split(known[TRAIN], known[QUERY], known[GALLERY], ignored, others=others), strangers


def check(root: str | Path, name: str = NAME) -> audit.Report:
    """What `rga data check` says; sets in this layout with another name are not compared with the published counts."""
    split, strangers = scan(root)
    published = PUBLISHED if name == NAME else {}
    return audit.people(
        name, Path(root), locate(root), split, parts(split), published, boxes.problems(split, strangers)
    )


def parts(split: Split) -> dict[str, list[Sample]]:
    """The rows of a check, under the names of `PUBLISHED`."""
    asked = any(sample.identity == DISTRACTOR for sample in split.query)  # then it is somebody
    distractors = [] if asked else [sample for sample in split.gallery if sample.identity == DISTRACTOR]
    return {
        "train": split.train,
        "query": split.query,
        "gallery": [sample for sample in split.gallery if asked or sample.identity != DISTRACTOR],
        "distractors": distractors,
        "junk": split.ignored,
    }
