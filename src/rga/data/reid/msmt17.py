"""MSMT17 (Wei et al., Person Transfer GAN to Bridge Domain Gap for Person Re-identification, CVPR 2018), both versions.

    MSMT17_V1/                                         MSMT17_V2/
        list_{train,val,query,gallery}.txt                 the same lists
        train/0000/0000_000_01_0303morning_0008_0.jpg      mask_train_v2/0000/...
        test/0000/0000_001_01_0303morning_0015_0.jpg       mask_test_v2/0000/...

In version 2 the faces are blurred. The people, the images and the lists are the same, the metrics are not: a result
names its version.

A line of a list is an image and its identity: `0000/0000_000_01_0303morning_0008_0.jpg 0`; the third field of the
image's name is the camera. Training and test identities are counted from 0 separately. `list_val.txt` holds further
images of the training identities, under the same numbers; the paper trains on both lists (32,621 images), and so is
it done here. torchreid trains on `list_train.txt` alone (30,248 images) unless asked to combine them.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rga.data import audit
from rga.data.base import Sample, Split, shorten
from rga.data.decoding import SUFFIXES
from rga.data.listing import left_out, listing, locate, places, read_lines
from rga.errors import DataError

LISTS = TRAIN, VAL, QUERY, GALLERY = "list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt"

# Images, identities and cameras of each split, in both versions.
PUBLISHED = {"train": (32_621, 1_041, 15), "query": (11_659, 3_060, 15), "gallery": (82_161, 3_060, 15)}

_LINE = re.compile(r"(?:\./)?([^/\s]+)/([^/\s_]+_[^/\s_]+_(\d+)_[^/\s]+)\s+(\d+)")
_EXAMPLE = "0000/0000_000_01_0303morning_0008_0.jpg 0"


class _Line(NamedTuple):
    """A line of a list: the image below its folder, such as `0000/0000_000_01_0303morning_0008_0.jpg`."""

    file: str
    identity: int
    camera: int


@dataclass(frozen=True)
class MSMT17:
    """One of the two versions, and how to read it.

    Args:
        title: its name, and that of its folder.
        name: that of its config.
        train, test: its two folders of images.
    """

    title: str
    name: str
    train: str
    test: str

    def read(self, root: str | Path) -> Split:
        """Read this version: `root` is its folder, or that folder's parent.

        Images are looked for in one listing of each identity's folder, and not opened.

        Raises:
            DataError: a folder or a list is missing, it is the other version, a line of a list is not an image with
                its identity, or an image that a list names is not there.
        """
        folder = self.locate(root)
        trains = (folder / self.train).is_dir()
        return Split(
            train=self._samples(folder / self.train, folder / TRAIN, folder / VAL) if trains else [],
            query=self._samples(folder / self.test, folder / QUERY),
            gallery=self._samples(folder / self.test, folder / GALLERY),
        )

    def check(self, root: str | Path, name: str = "") -> audit.Report:
        """What `rga data check` says; sets of this layout with another name are not compared with published counts."""
        split = self.read(root)
        parts = {"train": split.train, "query": split.query, "gallery": split.gallery}
        problems = []
        for part, samples in parts.items():
            times = Counter(f"{sample.path.parent.name}/{sample.path.name}" for sample in samples)
            if twice := [file for file, count in times.items() if count > 1]:
                problems.append(f"{part}: {len(twice)} images are named more than once: {shorten(twice)}")
        folder = self.locate(root)
        named = {sample.path for samples in parts.values() for sample in samples}
        present = (folder / part / image for part in (self.train, self.test) for image in listing(folder / part).images)
        notes = left_out(folder, sorted(path for path in present if path not in named), "named by no list")
        published = PUBLISHED if name in ("", self.name) else {}
        return audit.people(name or self.name, Path(root), folder, split, parts, published, problems, notes)

    def locate(self, root: str | Path) -> Path:
        """The folder with the lists and the two folders of images: `root` itself or `title` in it.

        The training split may be missing, that is its folder and both its lists.
        """
        training = [self.train, TRAIN, VAL]
        try:
            return locate(root, self.title, self.inside, [*training, self.test, QUERY, GALLERY], training=training)
        except DataError:
            other = V2 if self is V1 else V1
            for folder in places(root, [*self.inside, *other.inside]):
                if (folder / other.train).is_dir():
                    raise DataError(
                        f"{folder} holds {other.title} (the folder {other.train}), not {self.title} ({self.train}): "
                        f"this is data={other.name}"
                    ) from None
            raise

    @property
    def inside(self) -> list[str]:
        """The names that its folder may have below a root."""
        return [self.title, f"msmt17/{self.title}"]

    def _samples(self, images: Path, *lists: Path) -> list[Sample]:
        """The images that the lists name, in the order of their names."""
        lines = sorted(line for path in lists for line in _lines(path, images))
        return [Sample(images / line.file, line.identity, line.camera) for line in lines]


V1 = MSMT17("MSMT17_V1", "msmt17_v1", "train", "test")
V2 = MSMT17("MSMT17_V2", "msmt17_v2", "mask_train_v2", "mask_test_v2")


def _lines(path: Path, images: Path) -> list[_Line]:
    """What a list says; every image that it names is there."""
    lines, missing = [], []
    listings: dict[str, set[str]] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip().replace("\\", "/"))  # as Windows writes paths
        if match is None or not match[2].lower().endswith(SUFFIXES):
            raise DataError(f"{path}, line {number}: {line[:80]!r} is not like {_EXAMPLE!r}")
        person, name, camera, identity = match.groups()
        if person not in listings:
            listings[person] = _listing(images / person)
        if name not in listings[person]:
            missing.append(f"{person}/{name}")
        lines.append(_Line(f"{person}/{name}", int(identity), int(camera)))
    if missing:
        raise DataError(f"{path} names {len(missing)} images that are not in {images}: {shorten(missing)}")
    if not lines:
        raise DataError(f"{path} names no image: is the data set unpacked completely?")
    return lines


def _listing(folder: Path) -> set[str]:
    """The names in a folder. No file is asked for anything: with 126,441 images that would take long."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:  # no such folder: then none of its images is there
        return set()
