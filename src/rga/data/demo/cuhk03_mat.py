"""A small set of synthetic people in CUHK03's layout: `cuhk-03.mat` with both kinds of images, and their lists."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rga.data import marker
from rga.data.demo import pedestrians
from rga.data.demo.person import Random, person
from rga.data.progress import watched
from rga.data.reid import cuhk03, cuhk03_extract, cuhk03_lists, cuhk03_raw
from rga.data.reid.cuhk03_lists import KINDS, PARTS, Lists

_VERSION = 1  # raise it when the drawings change
_PAIRS = 5
_SPLITS = 20
_MARGIN = {"labeled": 2, "detected": 8}  # pixels that a box may lack on a side: CUHK03's images differ in size

Named = dict[str, dict[str, NDArray[np.uint8]]]  # of each kind: its images by their names


def write(root: str | Path, *, identities: int = 60, test_identities: int = 40, images: int = 4, seed: int = 0) -> Path:
    """Write the synthetic set: the same arguments give the same files. Nothing is done where it lies already.

    Both kinds of images show the same people at the same moments, but for a few moments that only one of them has.

    Args:
        root: the folder that will hold `cuhk03_release` and the lists.
        identities: people to train on.
        test_identities: other people, to test on; a split of the classic protocol tests as many.
        images: images of a person in each of two cameras, on average: 2 to 4.
        seed: of the whole set.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    options = {"version": _VERSION, "set": "CUHK03", "identities": identities, "test_identities": test_identities,
               "images": images, "seed": seed}  # fmt: skip
    if min(identities, test_identities) < 1 or not 2 <= images <= 4:
        raise ValueError(f"identities and test_identities are at least 1, images is 2 to 4: {options}")
    return marker.write(
        root, options, lambda folder: _write(folder, identities, test_identities, images, seed), _extracted
    )


def _extracted(folder: Path) -> list[str]:
    """The images that the reader will make of `cuhk-03.mat`."""
    return [
        f"{cuhk03_extract.folder_name(kind)}/{name}"
        for kind in KINDS
        for name in cuhk03_lists.read(folder / cuhk03_lists.file_name(kind), kind).names
    ]


def _write(folder: Path, train: int, test: int, images: int, seed: int) -> dict[str, tuple[int, int, int]]:
    """Write the set; gives images, identities and cameras of each split of each kind, as a check names them."""
    # The people, pair of cameras by pair of cameras; the place in this list is the label, from 1.
    people = [
        (pair, identity)
        for pair, share in enumerate(np.array_split(np.arange(train + test), _PAIRS), start=1)
        for identity in range(1, len(share) + 1)
    ]
    named = _draw(people, images, seed)
    random = np.random.default_rng([seed, 3])
    splits = [[people[label] for label in np.sort(random.permutation(len(people))[:test])] for _ in range(_SPLITS)]
    (folder / cuhk03.RELEASE).mkdir()
    cuhk03_raw.write(folder / cuhk03.RELEASE / cuhk03_raw.FILE, named, splits)
    trained = {people[label] for label in random.permutation(len(people))[:train]}
    counts = {}
    for kind in KINDS:
        lists = _lists(folder / cuhk03_lists.file_name(kind), sorted(named[kind]), people, trained)
        cuhk03_lists.write(lists)
        for part, places in lists.parts.items():
            seen = (np.unique(values[places]) for values in (lists.identities, lists.cameras))
            identities, cameras = map(len, seen)
            counts[f"{kind} {part}"] = (len(places), identities, cameras)
    return counts


def _draw(people: list[tuple[int, int]], images: int, seed: int) -> Named:
    """Make images of everybody in both cameras of their pair, as each kind of images has them."""
    sights = [pedestrians.camera(np.random.default_rng([seed, 0, number])) for number in range(2 * _PAIRS)]
    named: Named = {kind: {} for kind in KINDS}
    for label, (pair, identity) in enumerate(watched(people, "drawing", len(people)), start=1):
        random = np.random.default_rng([seed, 1, label])
        who = person(random)
        for view in range(2):
            count = max(2, min(4, images + int(random.integers(-1, 2))))
            only = KINDS[label % 10 - 1] if view == 0 and label % 10 in (1, 2) else ""  # has one image more
            for moment in range(count + bool(only)):
                name = cuhk03_raw.name(pair, identity, view * cuhk03_raw.IMAGES // 2 + moment + 1)
                random = np.random.default_rng([seed, 2, label, view, moment])
                pixels = np.asarray(pedestrians.image(who, sights[2 * (pair - 1) + view], random))
                for kind in KINDS if moment < count else (only,):
                    named[kind][name] = _cut(pixels, _MARGIN[kind], random)
    return named


def _cut(pixels: NDArray[np.uint8], most: int, random: Random) -> NDArray[np.uint8]:
    """Leave out up to so many pixels at each side."""
    top, bottom, left, right = random.integers(0, most + 1, 4)
    return pixels[top : len(pixels) - bottom, left : pixels.shape[1] - right]


def _lists(path: Path, names: list[str], people: list[tuple[int, int]], trained: set[tuple[int, int]]) -> Lists:
    """The lists of the new protocol: of a person who is not trained on, the first image in each camera asks."""
    half = cuhk03_raw.IMAGES // 2
    parsed = [cuhk03_raw.parse(name) for name in names]
    labels = {whom: label for label, whom in enumerate(people, start=1)}
    parts = ["train" if whom[:2] in trained else "query" if whom[2] % half == 1 else "gallery" for whom in parsed]
    return Lists(
        path,
        names,
        np.array([labels[whom[:2]] for whom in parsed]),
        np.array([1 + (place > half) for _, _, place in parsed]),
        {part: np.flatnonzero(np.array(parts) == part) for part in PARTS},
    )
