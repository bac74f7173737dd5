"""Training images, each decoded once.

A run of 600 epochs sees every image hundreds of times; decoding them each time costs more than the augmentation and,
on a machine with few cores, more than the training step. Small sets stay in memory; large ones lie in one file that is
mapped into memory, so that the next run, and every process on the machine, shares it.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rga.cores import cores
from rga.data import decoding
from rga.data.progress import watched
from rga.errors import DataError
from rga.files import atomic_file, remove

_FORMAT = 1  # raise it when the bytes of a stored image change
_UNFINISHED = ".images-*.npy.writing-*"  # of processes that write one, or were killed while they did
_CHUNK = 512  # images decoded ahead of the writer


class ImageStore:
    """The images of `paths` as one array of uint8, (N, 3, H, W).

    Images that all have one size, none larger than the enlarged training size, are kept as they are: the augmentation
    then does the only resampling. Others are resized to the enlarged training size (1.125 x, as the random translation
    does), with Pillow's filter, which averages over what it shrinks: the translation's crop is then exact, and the
    augmentation on the device never shrinks an image by more than 1.125.

    Args:
        paths: the image files.
        size: (H, W) of the training images.
        cache: the folder for the file of a set larger than `memory`; None: such a set is kept in memory all the same.
        memory: bytes that may be held in memory, by every process.
        disk: bytes that all files in `cache` may take; the longest unused go first.

    Raises:
        DataError: an image cannot be read, or the file cannot be written.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: tuple[int, int],
        cache: str | Path | None = None,
        memory: int = 2 << 30,
        disk: int = 64 << 30,
    ) -> None:
        self.size = stored_size(paths, size)
        self.file = cached_file(paths, size, cache, memory, disk)
        self.images: NDArray[np.uint8]
        if self.file is not None:
            self.images = np.load(self.file, mmap_mode="r")
        else:
            self.images = np.empty((len(paths), 3, *self.size), np.uint8)
            for index, image in enumerate(_decode(paths, self.size)):
                self.images[index] = image

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """A copy of the images of `indices`, (B, 3, H, W)."""
        return np.asarray(self.images[list(indices)])


def cached_file(
    paths: Sequence[Path], size: tuple[int, int], cache: str | Path | None, memory: int = 2 << 30, disk: int = 64 << 30
) -> Path | None:
    """The file of a set too large for `memory`, written where it is not there yet; None for the others.

    One process per machine calls this before the others make their `ImageStore`. Arguments and errors as there.
    """
    if cache is None or len(paths) * 3 * int(np.prod(enlarged(size))) <= memory:  # small in any of its sizes
        return None
    shape = (len(paths), 3, *stored_size(paths, size))
    if int(np.prod(shape)) <= memory:
        return None
    file = Path(cache).expanduser() / f"images-{_key(paths, shape[2:])}.npy"
    if not file.exists():
        _write(file, paths, shape, disk)
    with suppress(PermissionError):  # another user's, in a cache that is shared
        os.utime(file)  # the time of last use, for `_evict`
    return file


def enlarged(size: tuple[int, int]) -> tuple[int, int]:
    """The size that the random translation crops from: 1.125 x, rounded as in the authors' code."""
    return round(size[0] * 1.125), round(size[1] * 1.125)


def stored_size(paths: Sequence[Path], size: tuple[int, int]) -> tuple[int, int]:
    """The size in which the images are stored: their own where they share one that is not too large."""
    with ThreadPoolExecutor(threads()) as pool:
        shapes = set(pool.map(decoding.shape, paths))
    limit = enlarged(size)
    own = shapes.pop() if len(shapes) == 1 else None
    return own if own is not None and own[0] <= limit[0] and own[1] <= limit[1] else limit


def _decode(paths: Sequence[Path], size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    """The images in the order of `paths`, each (3, H, W)."""

    def decoded() -> Iterator[NDArray[np.uint8]]:
        with ThreadPoolExecutor(threads()) as pool:  # decoding releases the interpreter's lock
            for start in range(0, len(paths), _CHUNK):
                chunk = paths[start : start + _CHUNK]
                yield from pool.map(lambda path: decoding.load(path, size).transpose(2, 0, 1), chunk)

    return watched(decoded(), "decoding", len(paths))


def _write(file: Path, paths: Sequence[Path], shape: tuple[int, int, int, int], disk: int) -> None:
    """Write the array beside `file` and move it there when it is complete: another process never sees half of it."""
    needed = int(np.prod(shape))
    if needed > disk:
        raise DataError(f"the decoded images take {needed:,} bytes, more than the {disk:,} allowed in {file.parent}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _evict(file.parent, disk - needed)
        # Plain writes and not a writable map: on a full disk the latter ends the process without a word.
        with atomic_file(file, shared=True) as out:
            np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for image in _decode(paths, (shape[2], shape[3])):
                out.write(image.tobytes())
    except OSError as error:
        raise DataError(f"cannot write the decoded images ({needed:,} bytes) into {file.parent}: {error}") from error


def _evict(folder: Path, room: int) -> None:
    """Remove the longest unused files until the rest takes at most `room` bytes, and what a killed run left behind."""
    # A file that another process has mapped stays readable for it until it ends.
    files = []
    for file in [*folder.glob("images-*.npy"), *folder.glob(_UNFINISHED)]:
        with suppress(FileNotFoundError):  # another process tidies up as well
            files.append((file.stat(), file))
    for stat, file in sorted(files, key=lambda entry: entry[0].st_mtime, reverse=True):
        if file.suffix != ".npy":
            if time.time() - stat.st_mtime > 24 * 3600:
                remove(file)
            continue
        room -= stat.st_size
        if room < 0:
            remove(file)


def _key(paths: Sequence[Path], size: Sequence[int]) -> str:
    """A name for the content: the files' names below their common folder, sizes and times, and the stored size."""
    base = os.path.commonpath([path.parent for path in paths])
    listing = [(os.path.relpath(path, base), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps([_FORMAT, list(size), listing]).encode()).hexdigest()[:20]


def threads() -> int:
    """How many threads decode images."""
    return min(16, cores())
