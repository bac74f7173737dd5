"""Three folders of images whose names say who is on them: Market-1501's layout, which other sets took over.

    bounding_box_train/0002_c1s1_000451_03.jpg    to train on
    query/0001_c1s1_001051_00.jpg                 asks
    bounding_box_test/0001_c1s1_001051_03.jpg     answers: the gallery

What the names are exactly, and what follows from an identity, is each data set's own matter.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rga.data import audit
from rga.data.base import Sample, Split, identities, shorten
from rga.data.listing import listing, locate
from rga.errors import DataError

log = logging.getLogger("rga")

TRAIN, QUERY, GALLERY = PARTS = ("bounding_box_train", "query", "bounding_box_test")


@dataclass(frozen=True)
class Boxes:
    """A data set in this layout.

    Args:
        title: its name, for messages.
        folders: where the three splits may lie below a root.
        name: of an image, without its suffix; the first group is the identity, the second the camera.
        example: of such a name.
        missing: what to say, beside where it was looked for, when it is not there.
    """

    title: str
    folders: tuple[str, ...]
    name: re.Pattern[str]
    example: str
    missing: str = ""

    def locate(self, root: str | Path) -> Path:
        """The folder with the splits: `root` itself or one of `folders` in it. The training split may be missing."""
        return locate(root, self.title, self.folders, PARTS, training=[TRAIN], source=self.missing)

    def scan(self, root: str | Path) -> "Scan":
        """The images of each split, in the order of their names.

        Raises:
            DataError: a split is missing or empty, or two images of a split have one name.
        """
        folder, found = self.locate(root), Scan({}, [], [])
        for part in PARTS:
            images, others = listing(folder / part)
            found.others.extend(folder / part / name for name in others)
            if not images and (folder / part).is_dir():
                raise DataError(f"no images in {part} of {folder}: is the data set unpacked completely?")
            samples = found.parts[part] = []
            paths: dict[str, Path] = {}
            for path in sorted((folder / part / name for name in images), key=lambda path: (path.name, path)):
                if paths.setdefault(path.stem, path) != path:
                    raise DataError(f"{paths[path.stem]} and {path} have one name: keep one of them")
                if match := self.name.fullmatch(path.stem):
                    samples.append(Sample(path, int(match[1]), int(match[2])))
                else:
                    found.strangers.append(path)
        if shared := {sample.identity for sample in found.parts[TRAIN]} & {s.identity for s in found.parts[QUERY]}:
            log.warning(
                "%s: %d identities are numbered alike in the training and the test split: if they are the same people, "
                "the metrics are of people who were trained on: %s",
                folder, len(shared), shorten([*map(str, sorted(shared))]),
            )  # fmt: skip
        return found

    def refuse(self, strangers: list[Path]) -> None:
        """Stop where an image's name does not say whom it shows."""
        if strangers:
            raise DataError(
                f"{len(strangers)} images in {strangers[0].parents[1]} have names that are not like {self.example}: "
                f"{shorten([f'{path.parent.name}/{path.name}' for path in strangers])}. data=reid_table takes any names"
            )


class Scan(NamedTuple):
    """What is in the splits: images; those whose names do not parse; and what is no image by its name."""

    parts: dict[str, list[Sample]]
    strangers: list[Path]
    others: list[Path]


def problems(split: Split, strangers: list[Path]) -> list[str]:
    """What a check has to say beside the counts: what is wrong with the names."""
    found = []
    if strangers:
        found.append(f"{len(strangers)} names that do not parse: {shorten([str(path) for path in strangers])}")
    if shared := set(identities(split.train)) & set(identities(split.query)):
        found.append(
            f"{len(shared)} identities are in the training and the test split: {shorten([*map(str, sorted(shared))])}"
        )
    return found + audit.unreadable(strangers)
