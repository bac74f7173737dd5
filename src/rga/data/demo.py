"""Demo data: small sets of drawn pictures in the layouts of the real data sets, for the real readers to read.

`rga data demo NAME` calls what conf/data/NAME.yaml names as `demo_writer`.
"""

from pathlib import Path

import numpy as np

from rga.data import cityscapes, marker, market1501, pedestrians, shapes, street
from rga.data.base import ImageSplit
from rga.data.cifar import CIFAR10, CIFAR100, Cifar
from rga.data.figure import Person, person
from rga.data.progress import watched

_VERSION = 1  # of the pedestrians; raise it when the drawings change
_SHAPES_VERSION = 1
_STREET_VERSION = 1


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
    """Draw a small set in Market-1501's layout: the same arguments give the same files.

    Nothing is done where the same set lies already.

    Args:
        root: the folder that will hold the three parts.
        identities: people to train on.
        test_identities: other people, to test on.
        images: pictures of a person in one camera, on average; everybody is seen by three to six of six cameras.
        distractors: gallery pictures of nobody (identity 0).
        junk: gallery pictures that the protocol leaves out (identity -1).
        seed: of everything drawn.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    options = {"version": _VERSION, "identities": identities, "test_identities": test_identities, "images": images,
               "distractors": distractors, "junk": junk, "seed": seed}  # fmt: skip
    if min(identities, test_identities, images) < 1 or min(distractors, junk) < 0:
        raise ValueError(
            f"identities, test_identities and images are at least 1, distractors and junk at least 0: {options}"
        )
    return marker.write(
        root, options, lambda folder: _draw(folder, identities, test_identities, images, distractors, junk, seed)
    )


def write_cifar10(root: str | Path, *, train: int = 2000, test: int = 1000, seed: int = 0) -> Path:
    """Draw a small set of ten classes (`rga.data.shapes`) in CIFAR-10's layout; nothing is done where it lies already.

    Args:
        root: the folder that will hold the files.
        train: pictures to train on.
        test: pictures to test on.
        seed: of everything drawn.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    return _write_cifar(CIFAR10, root, train, test, seed)


def write_cifar100(root: str | Path, *, train: int = 2000, test: int = 1000, seed: int = 0) -> Path:
    """The same with a hundred classes in CIFAR-100's layout."""
    return _write_cifar(CIFAR100, root, train, test, seed)


def write_cityscapes(root: str | Path, *, train: int = 24, val: int = 8, size: int = 128, seed: int = 0) -> Path:
    """Draw a small set of streets (`rga.data.street`) in Cityscapes' layout; nothing is done where it lies already.

    Args:
        root: the folder that will hold `leftImg8bit` and `gtFine`.
        train: pictures to train on.
        val: pictures to test on.
        size: their height; they are twice as wide.
        seed: of everything drawn.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    options = {"version": _STREET_VERSION, "train": train, "val": val, "size": size, "seed": seed}
    if min(train, val) < 1 or size < 32:
        raise ValueError(f"train and val are at least 1, size is at least 32: {options}")

    def draw(folder: Path) -> dict[str, tuple[int, int]]:
        return {
            part: (count, _draw_streets(folder, part, count, size, [seed, number]))
            for number, (part, count) in enumerate((("train", train), ("val", val)))
        }

    return marker.write(root, options, draw)


def _draw_streets(folder: Path, part: str, count: int, size: int, key: list[int]) -> int:
    """Draw a part; gives the number of classes in it."""
    images, labels = (folder / kind / part / "demo" for kind in (cityscapes.IMAGES, cityscapes.LABELS))
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    seen: set[int] = set()
    for number in watched(range(count), "drawing", count):
        image, label = street.draw(size, np.random.default_rng([*key, number]))
        name = f"demo_{number:06d}_000019"
        image.save(images / f"{name}{cityscapes.IMAGE}")
        label.save(labels / f"{name}{cityscapes.LABEL}")
        seen.update(np.unique(np.asarray(label)).tolist())
    return len(seen & {number for number, _, _ in cityscapes.CLASSES})


def _write_cifar(layout: Cifar, root: str | Path, train: int, test: int, seed: int) -> Path:
    classes = layout.labels[-1]
    options = {"version": _SHAPES_VERSION, "set": layout.title, "train": train, "test": test, "seed": seed}
    if min(train, test) < classes:
        raise ValueError(f"train and test are at least {classes}, a picture of each class: {options}")

    def draw(folder: Path) -> dict[str, tuple[int, int]]:
        first, second = (shapes.draw(count, classes, (seed, part)) for part, count in enumerate((train, test)))
        layout.write(folder, ImageSplit(first, second, shapes.names(classes)))
        return {"train": (train, classes), "test": (test, classes)}

    return marker.write(root, options, draw)


def _draw(
    folder: Path, train: int, test: int, images: int, distractors: int, junk: int, seed: int
) -> dict[str, tuple[int, int, int]]:
    """Draw the pictures; gives images, identities and cameras of each part, under the names of a check."""
    for part in (market1501.TRAIN, market1501.QUERY, market1501.GALLERY):
        (folder / part).mkdir(parents=True)
    places = [pedestrians.camera(np.random.default_rng([seed, 0, number])) for number in range(6)]
    seen: dict[str, list[tuple[int, int]]] = {part: [] for part in market1501.PUBLISHED}

    def shoot(part: str, who: Person | None, identity: int, camera: int, frame: int) -> None:
        random = np.random.default_rng([seed, 2, identity + 1, camera, frame])
        name = f"{identity:04d}" if identity >= 0 else "-1"
        kind = {"train": market1501.TRAIN, "query": market1501.QUERY}.get(part, market1501.GALLERY)
        path = folder / kind / f"{name}_c{camera}s1_{frame:06d}_00.jpg"
        pedestrians.picture(who, places[camera - 1], random).save(path, quality=92)
        seen[part].append((identity, camera))

    for identity in watched(range(1, train + test + 1), "drawing", train + test):
        random = np.random.default_rng([seed, 1, identity])
        who = person(random)
        for camera in sorted(random.permutation(6)[: random.integers(3, 7)] + 1):
            for frame in range(max(1, images + int(random.integers(-1, 2)))):
                # as in Market-1501, one picture of a person in a camera asks, the others answer
                part = "train" if identity <= train else "query" if frame == 0 else "gallery"
                shoot(part, who, identity, int(camera), frame)
    random = np.random.default_rng([seed, 3])
    for part, identity, count in (("distractors", market1501.DISTRACTOR, distractors), ("junk", market1501.JUNK, junk)):
        for frame in range(count):
            stray = person(random) if part == "junk" else None
            shoot(part, stray, identity, frame % 6 + 1, frame)
    return {
        part: (len(shots), len({identity for identity, _ in shots}), len({camera for _, camera in shots}))
        for part, shots in seen.items()
    }
