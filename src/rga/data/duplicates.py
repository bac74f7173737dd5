"""Images to test on that look like images to train on: a perceptual hash of every image, compared across the splits.

The hash (pHash) has 256 bits: of the image in grey at 32 x 32 the cosine transform, and of its 16 x 16 lowest
frequencies whether each is above their median. What was measured, with the first split as it is and altered:

                             nearest two images of        the same image after JPEG of quality 30,    found after a
                             different splits (of pairs)  half the size, blur, brightness, contrast   crop of 2 %
    Market-1501's holdout    64 bits (37 million)         24 or fewer                                 79 %
    CamVid                   60 bits (123 thousand)       26 or fewer                                 83 %
    synthetic people         80 bits (7 thousand)         26 or fewer                                 58 %
    synthetic shapes         50 bits (45 thousand)        86 or fewer for 99 %: flat, so noise counts 59 %

So the threshold is 40. Mirror images and larger crops are not found. A hash of 64 bits leaves no room: Market's nearest
two differ in 5 or 6 of them. In CIFAR-10, 124 of the 10,000 test images have a training image within the threshold.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from rga.data import decoding
from rga.data.base import FileSplit, ImageSplit, SceneSplit, Split, shorten
from rga.data.progress import watched
from rga.errors import DataError

THRESHOLD = 40  # bits
BITS = 256
_SIDE, _LOW = 32, 16
_CHUNK = 512  # images whose distances to all others are held at a time

Hashes = NDArray[np.float32]
Read = Callable[[], NDArray[np.uint8]]


class _Image(NamedTuple):
    """An image of a split: its name, what gives its pixels at 32 x 32, and, of people, who and by which camera."""

    name: str
    read: Read
    shows: tuple[int, int] | None = None


def near_duplicates(split: Split | FileSplit | SceneSplit | ImageSplit, folder: Path) -> list[str]:
    """Say in a line for any two splits how many images of the one look like one of the other; nothing where none does.

    Images of a query's identity by its camera are no matter: no query counts them. What cannot be read is left out.

    Args:
        split: what a reader gives.
        folder: to which the names are relative.
    """
    hashed = {part: _hashed(part, images) for part, images in _images(split, folder).items()}
    lines = []
    for one, other in combinations(hashed, 2):
        if found := sorted(_alike(*hashed[one], *hashed[other])):
            pairs = [f"{b} ~ {a} ({bits:.0f})" for bits, b, a in found]
            count = len({b for _, b, _ in found})
            lines.append(
                f"{count:,} images of {other} look like images of {one} (at most {THRESHOLD} of the {BITS} bits of a "
                f"perceptual hash differ): {shorten(pairs)}"
            )
    return lines


def perceptual_hash(pixels: NDArray[np.uint8]) -> Hashes:
    """(256,) of -1 and 1, of an image (32, 32, 3)."""
    grey = pixels.astype(np.float64) @ (0.299, 0.587, 0.114)
    low = dctn(grey, norm="ortho")[:_LOW, :_LOW].ravel()
    return np.where(low > np.median(low), 1, -1).astype(np.float32)


def _images(split: Any, folder: Path) -> Mapping[str, list[_Image]]:
    """The images of each split."""

    def file(path: Path, shows: tuple[int, int] | None = None) -> _Image:
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        return _Image(name, partial(decoding.load, path, (_SIDE, _SIDE)), shows)

    if isinstance(split, Split):
        parts = {"train": split.train, "query": split.query, "gallery": split.gallery}
        return {part: [file(s.path, (s.identity, s.camera)) for s in samples] for part, samples in parts.items()}
    if isinstance(split, FileSplit):
        return {part: [file(path) for path, _ in files] for part, files in (("train", split.train), ("val", split.val))}
    if isinstance(split, SceneSplit):
        return {part: [file(scene.image) for scene in scenes] for part, scenes in split.parts.items()}
    images = {"train": split.train.images, "test": split.test.images}
    return {
        part: [_Image(f"{part} {place}", partial(_small, image)) for place, image in enumerate(of)]
        for part, of in images.items()
    }


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(3, h, w) to (32, 32, 3)."""
    return np.asarray(Image.fromarray(image.transpose(1, 2, 0)).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


def _hashed(part: str, images: Sequence[_Image]) -> tuple[list[_Image], Hashes]:
    """What could be read, and its hashes, (N, 256)."""

    def one(image: _Image) -> Hashes | None:
        try:
            return perceptual_hash(image.read())
        except DataError:  # which the check has told
            return None

    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter's lock
        found = list(watched(pool.map(one, images), f"comparing {part}", len(images)))
    kept = [(image, code) for image, code in zip(images, found, strict=True) if code is not None]
    codes = [code for _, code in kept]
    return [image for image, _ in kept], np.stack(codes) if codes else np.empty((0, BITS), np.float32)


def _alike(
    one: Sequence[_Image], codes: Hashes, other: Sequence[_Image], others: Hashes
) -> Iterator[tuple[float, str, str]]:
    """Pairs within the threshold: bits, name of the other, name of the one."""
    for start in range(0, len(others), _CHUNK):
        bits = (BITS - others[start : start + _CHUNK] @ codes.T) / 2  # of 1 and -1 exact in single precision
        for row, column in zip(*np.nonzero(bits <= THRESHOLD), strict=True):
            a, b = one[column], other[start + row]
            if a.shows is None or a.shows != b.shows:
                yield float(bits[row, column]), b.name, a.name
