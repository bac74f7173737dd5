"""CUHK03 (Li et al., DeepReID, CVPR 2014) as it is distributed, with the lists of the new protocol beside it.

    cuhk03/
        cuhk03_release/cuhk-03.mat                        the images: 1,467 people in five pairs of cameras
        cuhk03_new_protocol_config_labeled.mat            who is on them, and the splits; also found in cuhk03_release
        cuhk03_new_protocol_config_detected.mat
        images_labeled/1_001_1_01.png                     made once from cuhk-03.mat: camera pair 1, its identity 1,
        images_detected/                                  first camera, image 1

There are two kinds of images: cut out by hand (labeled) and by a detector (detected). This is the layout of torchreid
and fast-reid; folders of images that they have extracted are used as they are, without cuhk-03.mat.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rga.data import audit, matches
from rga.data.base import Sample, Split, cameras, identities, shorten
from rga.data.listing import left_out, listing, places
from rga.data.reid import cuhk03_extract, cuhk03_lists, cuhk03_raw
from rga.data.reid.cuhk03_lists import KINDS, PARTS, PUBLISHED, Lists
from rga.errors import DataError

FOLDER = "cuhk03"
RELEASE = "cuhk03_release"
DRAWS = 10  # of the classic protocol's gallery

Kind = Literal["labeled", "detected"]
Protocol = Literal["new", "classic"]


def read(root: str | Path, kind: Kind, protocol: Protocol = "new", split: int = 0) -> Split:
    """Read the data set below `root`, and extract its images where that has not been done.

    The identities are those of the lists, 1 to 1467; the cameras are 1 and 2, of whichever pair.

    Args:
        root: the folder of the layout above, or its parent.
        kind: labeled or detected.
        protocol: new: 767 identities to train on, 700 to test on, with a query and a gallery. classic: 100 identities
            to test on, whose every image asks; the gallery is one image of each from the other camera, sampled ten
            times (`rga.metrics.single_gallery_shot`). What is reported is the mean over the splits.
        split: which of the 20 splits of the classic protocol, from 0.

    Raises:
        DataError: a file is missing, damaged or mixed up with another, the images cannot be written, or there is no
            such protocol or split.
    """
    files = _Files.find(root, kind)
    found = files.split(protocol, split)  # before anything is written
    cuhk03_extract.extract(files.images, files.raw, files.lists, kind)
    return found


def check(root: str | Path, name: str, kind: Kind, protocol: Protocol = "new", split: int = 0) -> audit.Report:
    """What `rga data check` says. It extracts nothing: images that are not files yet are read in cuhk-03.mat."""
    files = _Files.find(root, kind)
    found = files.split(protocol, split)
    lead = f"{kind} " if protocol == "new" else f"{kind}, {protocol} "  # in what is known; the set's name says it, too
    counts = {
        lead + part: (len(samples), len(identities(samples)), len(cameras(samples)))
        for part, samples in zip(PARTS, (found.train, found.query, found.gallery), strict=True)
    }
    published = {f"{kind} {part}": expected for part, expected in PUBLISHED[kind].items()}
    rows, source = audit.rows(files.folder, counts, published)
    rows = [replace(row, part=row.part.removeprefix(lead)) for row in rows]
    problems = [*matches.problems(found), *files.damaged()]
    columns = ("images", "identities", "cameras")
    named = {*files.lists.names}
    unnamed = [path for path in listing(files.images).images if path not in named]
    notes = [
        *left_out(files.images, unnamed, f"not named by {files.lists.path.name}"),
        *audit.said_of(found, files.folder),
    ]
    return audit.Report(name, Path(root), columns, rows, source, problems, notes)


def locate(root: str | Path) -> Path:
    """The folder of the layout: `root` itself or `cuhk03` in it."""
    lists, images = ([name(kind) for kind in KINDS] for name in (cuhk03_lists.file_name, cuhk03_extract.folder_name))
    for folder in places(root, [FOLDER]):
        if any((folder / name).exists() for name in (RELEASE, cuhk03_raw.FILE, *lists, *images)):
            return folder
    root = Path(root).expanduser()
    raise DataError(
        f"no CUHK03 in {root.absolute()}: expected {RELEASE}/{cuhk03_raw.FILE} and the lists {' and '.join(lists)} "
        f"there, or in {FOLDER} below it" + ("" if root.is_dir() else " (the folder does not exist)")
    )


@dataclass(frozen=True)
class _Files:
    """Where things lie, and what the lists say of one kind of images."""

    folder: Path
    kind: Kind
    raw: Path
    images: Path
    lists: Lists

    @classmethod
    def find(cls, root: str | Path, kind: Kind) -> "_Files":
        if kind not in KINDS:
            raise DataError(f"CUHK03's images are {' or '.join(KINDS)}, not {kind!r}")
        folder = locate(root)
        name = cuhk03_lists.file_name(kind)
        return cls(
            folder,
            kind,
            _first(folder / RELEASE / cuhk03_raw.FILE, folder / cuhk03_raw.FILE),
            folder / cuhk03_extract.folder_name(kind),
            cuhk03_lists.read(_first(folder / name, folder / RELEASE / name), kind),
        )

    def split(self, protocol: Protocol, number: int) -> Split:
        lists = self.lists
        samples = [
            Sample(self.images / name, identity, camera)
            for name, identity, camera in zip(
                lists.names, lists.identities.tolist(), lists.cameras.tolist(), strict=True
            )
        ]
        if protocol == "new":
            train, query, gallery = (sorted(samples[place] for place in lists.parts[part]) for part in PARTS)
            return Split(train, query, gallery, sorted({*samples} - {*train, *query, *gallery}))
        if protocol != "classic":
            raise DataError(f"CUHK03's protocol is new or classic, not {protocol!r}")
        tested = self._tested(number)
        test = sorted(sample for sample in samples if cuhk03_raw.parse(sample.path.name)[:2] in tested)
        return Split(sorted({*samples} - {*test}), test, test, gallery_draws=DRAWS)

    def _tested(self, number: int) -> set[tuple[int, int]]:
        """The identities that a split of the classic protocol tests: pairs of a camera pair and an identity in it."""
        if not self.raw.is_file():
            raise DataError(f"the classic protocol's splits are in {cuhk03_raw.FILE}, and there is no {self.raw}")
        with cuhk03_raw.opened(self.raw) as file:
            sets = file.testsets()
        if not 0 <= number < len(sets):
            raise DataError(f"there is no split {number} of the classic protocol: {self.raw} has 0 to {len(sets) - 1}")
        if unknown := sets[number] - {cuhk03_raw.parse(name)[:2] for name in self.lists.names}:
            raise DataError(
                f"split {number} in {self.raw} tests people of whom {self.lists.path.name} has no image "
                f"(camera pair, identity): {shorten([*map(str, sorted(unknown))])}"
            )
        return sets[number]

    def damaged(self) -> list[str]:
        """Read every image, wherever it lies; a message for each that cannot be."""
        absent = cuhk03_extract.missing(self.images, self.lists.names)
        problems = audit.unreadable(self.images / name for name in sorted({*self.lists.names} - {*absent}))
        if problems:
            problems.append(f"delete these files, and they are extracted again from {self.raw}")
        if absent:
            with cuhk03_extract.source(self.images, self.raw, self.lists, self.kind, absent) as (file, cells):
                problems += audit.attempt(absent, lambda name: file.image(name, cells[name]).shape)[1]
        return problems


def _first(*paths: Path) -> Path:
    """The first that is a file, or the first."""
    return next((path for path in paths if path.is_file()), paths[0])
