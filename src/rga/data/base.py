"""What a reader gives and what it raises."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "IGNORED",
    "UNKNOWN",
    "FileSplit",
    "ImageSplit",
    "LabelledFile",
    "LabelledImages",
    "Names",
    "Sample",
    "Scene",
    "SceneSplit",
    "Split",
    "cameras",
    "identities",
    "in_words",
    "shorten",
]


class Sample(NamedTuple):
    """One image of one person: identities and cameras are the data set's own numbers, or places in its `Names`."""

    path: Path
    identity: int
    camera: int


class Names(NamedTuple):
    """What a data set that has names instead of numbers calls the numbers of its samples.

    Attributes:
        identities: by their number.
        cameras: likewise; None: the set does not say which camera took an image. Then each image has a number of its
            own in the place of a camera's: every other gallery image of a query's identity is a match, and where the
            query itself is in the gallery, it is left out as an image of the same camera is.
    """

    identities: list[str]
    cameras: list[str] | None


@dataclass(frozen=True)
class Split:
    """A re-identification data set, every list in the order of the file names.

    `ignored` holds the images that the protocol leaves out, and `others` the files in its folders that are no
    images by their names: they are listed so that they can be counted and named. `train` may be empty, for a test.
    `gallery_draws`, where it is not 0: the ranks are those in galleries of one image of each identity, sampled so often
    (`rga.metrics.single_gallery_shot`). `names`: None where identities and cameras are the data set's own numbers.
    """

    train: list[Sample]
    query: list[Sample]
    gallery: list[Sample]
    ignored: list[Sample] = field(default_factory=list)
    others: list[Path] = field(default_factory=list, kw_only=True)
    gallery_draws: int = field(default=0, kw_only=True)
    names: Names | None = field(default=None, kw_only=True)

    @property
    def has_cameras(self) -> bool:
        return self.names is None or self.names.cameras is not None

    def identity(self, number: int) -> str:
        """What the data set calls an identity."""
        return str(number) if self.names is None else self.names.identities[number]

    def camera(self, number: int) -> str:
        """What the data set calls a camera; nothing where it does not say which took an image."""
        if self.names is None:
            return str(number)
        return "" if self.names.cameras is None else self.names.cameras[number]


@dataclass(frozen=True)
class LabelledImages:
    """Images of one size in memory: `images` (N, 3, H, W) uint8, RGB, and `labels` (N,) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSplit:
    """A classification data set: its two splits, the names of the classes in the order of the labels, its folder."""

    train: LabelledImages
    test: LabelledImages
    classes: list[str]
    folder: Path | None = None  # None: it is not from files


class LabelledFile(NamedTuple):
    """An image of any size on disk, and the place of its class in the list of them."""

    path: Path
    label: int


@dataclass(frozen=True)
class FileSplit:
    """A classification data set of files: its two splits in the order of the paths, and the classes' names by label.

    `others` are files in its folders that are not read.
    """

    train: list[LabelledFile]
    val: list[LabelledFile]
    classes: list[str]
    others: list[Path] = field(default_factory=list)


Colour = tuple[int, int, int]


class Scene(NamedTuple):
    """An image and the image with the label of each of its pixels; its name stands without a suffix."""

    image: Path
    label: Path
    name: str


IGNORED, UNKNOWN = 255, 254  # what a label's number may mean beside a class: it does not count; there is no such number


@dataclass(frozen=True)
class SceneSplit:
    """A segmentation data set.

    Args:
        parts: train, val and further ones by their names, each in the order of the scenes' names.
        classes: the names of the K classes, in the order of the labels.
        colours: (K, 3) uint8, to draw with.
        lookup: (256,) uint8, from a number in a label's file to 0 .. K - 1, `IGNORED` or `UNKNOWN`.
        painted: from the colour in a label's file to 0 .. K - 1 or `IGNORED`, where labels may be painted.
        mistake: numbers of another code, and what to say of label files that hold no others.
        others: files in its folders that are not read.
        meaning: what says how labels are read, where that may differ from set to set: one of a run's inputs.
    """

    parts: dict[str, list[Scene]]
    classes: list[str]
    colours: NDArray[np.uint8]
    lookup: NDArray[np.uint8]
    painted: Mapping[Colour, int] | None = None
    mistake: tuple[frozenset[int], str] | None = None
    others: list[Path] = field(default_factory=list)
    meaning: str = ""


WITHOUT_CAMERAS = "no cameras: every other gallery image of an identity is a match"


def identities(samples: Iterable[Sample]) -> list[int]:
    """The different identities, sorted."""
    return sorted({sample.identity for sample in samples})


def cameras(samples: Iterable[Sample]) -> list[int]:
    """The different cameras, sorted."""
    return sorted({sample.camera for sample in samples})


def in_words(counts: Mapping[str, int]) -> str:
    """The counts of a split, such as `40 images, 9 identities`; and how many queries counted, where not all did.

    `cameras` of 0: the set does not say which camera took an image, see `Names`.
    """
    words = {what: f"{count:,} {what}" for what, count in counts.items() if what not in ("counted", "cameras")}
    counted, without = counts.get("counted"), counts.get("cameras") == 0
    if counted is not None and counted != counts["images"]:
        where = "" if without else " in another camera"
        words["images"] += f" ({counted:,} counted, the others have no match{where})"
    return ", ".join([*words.values(), *([WITHOUT_CAMERAS] if without else [])])


def shorten(names: list[str], most: int = 5) -> str:
    """A few of many names, for a message."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
