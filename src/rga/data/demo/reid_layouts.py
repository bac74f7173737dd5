"""Synthetic people (`rga.data.demo.crowd`) in the layouts of Market-1501, DukeMTMC-reID and MSMT17, and in a table."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rga.data import marker
from rga.data.demo.crowd import Crowd
from rga.data.demo.person import person
from rga.data.reid import boxes, dukemtmc, market1501, msmt17, table

_VERSION = 1  # raise it when the drawings change
_QUALITY = 92  # of the JPEG files
_CAMERAS = ("door", "hall", "stairs", "street", "till", "yard")  # of the table
_FOLDERS = {"train": boxes.TRAIN, "query": boxes.QUERY}  # the other splits of a check are in the gallery's folder

Counts = dict[str, tuple[int, int, int]]


def write_market1501(
    root: str | Path,
    *,
    identities: int = 60,
    test_identities: int = 40,
    images: int = 4,
    distractors: int = 80,
    junk: int = 40,
    seed: int = 0,
) -> Path:
    """Write a small synthetic set in Market-1501's layout: the same arguments give the same files.

    Nothing is done where the same set lies already.

    Args:
        root: the folder that will hold the three splits.
        identities: people to train on.
        test_identities: other people, to test on.
        images: images of a person in one camera, on average; everybody is seen by three to six of six cameras.
        distractors: gallery images of nobody (identity 0).
        junk: gallery images that the protocol leaves out (identity -1).
        seed: of the whole set.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    options = {"version": _VERSION, "identities": identities, "test_identities": test_identities, "images": images,
               "distractors": distractors, "junk": junk, "seed": seed}  # fmt: skip
    _at_least_one(options, "distractors", "junk")

    def draw(folder: Path) -> Counts:
        crowd, files = Crowd(6, seed), _Boxes(folder, market1501.PUBLISHED)

        def save(part: str, identity: int, camera: int, frame: int, image: Image.Image) -> None:
            name = f"{identity:04d}" if identity >= 0 else "-1"
            files.save(image, part, f"{name}_c{camera}s1_{frame:06d}_00.jpg", identity, camera)

        for shot in crowd.shots(identities, test_identities, images):
            save(*shot)
        random = np.random.default_rng([seed, 3])
        for part, who, count in (
            ("distractors", market1501.DISTRACTOR, distractors),
            ("junk", market1501.JUNK, junk),
        ):
            for frame in range(count):
                stray = person(random) if part == "junk" else None
                camera = frame % 6 + 1
                save(part, who, camera, frame, crowd.image(stray, who, camera, frame))
        return files.counts()

    return marker.write(root, options, draw)


def write_dukemtmc(
    root: str | Path,
    *,
    identities: int = 60,
    test_identities: int = 40,
    images: int = 4,
    distractors: int = 40,
    seed: int = 0,
) -> Path:
    """Write a small synthetic set in DukeMTMC-reID's layout; as `write_market1501`, with eight cameras.

    Args:
        root: the folder that will hold the three splits.
        distractors: further people, of whom one camera took one image each; they stand in the gallery.
        identities, test_identities, images, seed: see `write_market1501`.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    options = {"version": _VERSION, "set": dukemtmc.NAME, "identities": identities, "test_identities": test_identities,
               "images": images, "distractors": distractors, "seed": seed}  # fmt: skip
    _at_least_one(options, "distractors")

    def draw(folder: Path) -> Counts:
        crowd, files = Crowd(8, seed), _Boxes(folder, dukemtmc.PUBLISHED)

        def save(part: str, identity: int, camera: int, frame: int, image: Image.Image) -> None:
            files.save(image, part, f"{identity:04d}_c{camera}_f{frame:07d}.jpg", identity, camera)

        for shot in crowd.shots(identities, test_identities, images):
            save(*shot)
        random = np.random.default_rng([seed, 3])
        for number in range(distractors):
            identity, camera = identities + test_identities + 1 + number, number % 8 + 1
            save("gallery", identity, camera, 0, crowd.image(person(random), identity, camera, 0))
        return files.counts()

    return marker.write(root, options, draw)


def write_msmt17_v1(
    root: str | Path, *, identities: int = 60, test_identities: int = 40, images: int = 4, seed: int = 0
) -> Path:
    """Write a small synthetic set in the layout of MSMT17's version 1; as `write_market1501`, with fifteen cameras.

    The last image of every training identity is named by the validation list, all others by the training list.

    Args:
        root: the folder that will hold the lists.
        identities, test_identities, images, seed: see `write_market1501`.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    return _write_msmt17(msmt17.V1, root, identities, test_identities, images, seed)


def write_msmt17_v2(
    root: str | Path, *, identities: int = 60, test_identities: int = 40, images: int = 4, seed: int = 0
) -> Path:
    """The same in the layout of version 2; synthetic faces need no blurring, so the images are the same."""
    return _write_msmt17(msmt17.V2, root, identities, test_identities, images, seed)


def _write_msmt17(version: msmt17.MSMT17, root: str | Path, train: int, test: int, images: int, seed: int) -> Path:
    options = {"version": _VERSION, "set": version.name, "identities": train, "test_identities": test,
               "images": images, "seed": seed}  # fmt: skip
    _at_least_one(options)

    def draw(folder: Path) -> Counts:
        lists: dict[str, list[str]] = {name: [] for name in msmt17.LISTS}
        seen = _Seen(msmt17.PUBLISHED)
        taken: dict[int, int] = {}  # images of a person so far
        for part, identity, camera, frame, image in Crowd(15, seed).shots(train, test, images):
            number = identity - 1 if part == "train" else identity - 1 - train  # from 0 in both folders
            index = taken[identity] = taken.get(identity, -1) + 1
            name = f"{number:04d}/{number:04d}_{index:03d}_{camera:02d}_0303morning_{frame:04d}_0.jpg"
            path = folder / (version.train if part == "train" else version.test) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=_QUALITY)
            lists[f"list_{part}.txt"].append(f"{name} {number}\n")
            seen.add(part, number, camera)
        last = {line.split("/")[0]: line for line in lists[msmt17.TRAIN]}.values()
        lists[msmt17.TRAIN] = [line for line in lists[msmt17.TRAIN] if line not in set(last)]
        lists[msmt17.VAL] = [*last]
        for name, lines in lists.items():
            (folder / name).write_text("".join(lines))
        return seen.counts()

    return marker.write(root, options, draw)


def write_reid_table(
    root: str | Path, *, identities: int = 60, test_identities: int = 40, images: int = 4, seed: int = 0
) -> Path:
    """Write a small synthetic set of six cameras with `table.csv`; as `write_market1501`, without distractors and junk.

    Args:
        root: the folder that will hold the table and the images.
        identities, test_identities, images, seed: see `write_market1501`.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    options = {"version": _VERSION, "set": table.NAME, "identities": identities, "test_identities": test_identities,
               "images": images, "seed": seed}  # fmt: skip
    _at_least_one(options)

    def draw(folder: Path) -> Counts:
        seen = _Seen(dict.fromkeys(table.PARTS))
        with (folder / table.TABLES[0]).open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(["path", "identity", "camera", "split", "frame"])  # the last one is nobody's matter
            for part, identity, camera, frame, image in Crowd(6, seed).shots(identities, test_identities, images):
                who, place = f"person {identity}", _CAMERAS[camera - 1]
                path = Path("images", place, f"{identity:04d}_{frame:03d}.jpg")
                (folder / path.parent).mkdir(parents=True, exist_ok=True)
                image.save(folder / path, quality=_QUALITY)
                lines.writerow([path.as_posix(), who, place, part, frame])
                seen.add(part, identity, camera)
        return seen.counts()

    return marker.write(root, options, draw)


class _Seen:
    """Who was seen where, counted as a check counts it."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.seen: dict[str, list[tuple[int, int]]] = {part: [] for part in parts}

    def add(self, part: str, identity: int, camera: int) -> None:
        self.seen[part].append((identity, camera))

    def counts(self) -> Counts:
        """Images, identities and cameras of each split."""
        return {
            part: (len(shots), len({identity for identity, _ in shots}), len({camera for _, camera in shots}))
            for part, shots in self.seen.items()
        }


class _Boxes(_Seen):
    """The three folders of `rga.data.reid.boxes`, and who is in them."""

    def __init__(self, folder: Path, parts: Mapping[str, Any]) -> None:
        super().__init__(parts)
        self.folder = folder
        for part in boxes.PARTS:
            (folder / part).mkdir()

    def save(self, image: Image.Image, part: str, name: str, identity: int, camera: int) -> None:
        image.save(self.folder / _FOLDERS.get(part, boxes.GALLERY) / name, quality=_QUALITY)
        self.add(part, identity, camera)


def _at_least_one(options: Mapping[str, Any], *may_be_none: str) -> None:
    """Stop at numbers from which no set can be made."""
    ones = [name for name in ("identities", "test_identities", "images") if options[name] < 1]
    if ones or any(options[name] < 0 for name in may_be_none):
        nones = f", {' and '.join(may_be_none)} at least 0" if may_be_none else ""
        raise ValueError(f"identities, test_identities and images are at least 1{nones}: {options}")
