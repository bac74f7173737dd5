"""`cuhk-03.mat`, which holds CUHK03's images: MATLAB's version 7.3, that is HDF5 behind a header of 512 bytes.

In MATLAB's terms `labeled` and `detected` are cells of 5 x 1 camera pairs, each a cell of identities x 10 images
(five of the pair's first camera, then five of its second; empty where there is no image), each image H x W x 3
bytes. `testsets` is a cell of 20 x 1 matrices of 100 x 2 doubles: camera pair and identity, counted from 1. HDF5 holds
a cell as an array of references, and every array transposed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rga.errors import DataError

FILE = "cuhk-03.mat"
IMAGES = 10  # of an identity, at most: five in each of two cameras
TESTSETS = "testsets"

_HEADER = 512  # bytes in front of the HDF5 file
_COMPRESSED = 1 << 13  # bytes of an array, above which it is compressed: MATLAB, too, leaves small ones as they are
_OLD = b"MATLAB 5.0"  # how a file of the versions before 7.3 begins
_AGAIN = "unpack cuhk03_release.zip again"


def name(pair: int, identity: int, place: int) -> str:
    """The file name of an image, as in the lists of the new protocol (and torchreid's folders): `1_001_2_06.png`.

    Args:
        pair: the camera pair, from 1.
        identity: within the camera pair, from 1.
        place: among the ten images of an identity, from 1.
    """
    return f"{pair}_{identity:03d}_{1 if place <= IMAGES // 2 else 2}_{place:02d}.png"


def parse(name: str) -> tuple[int, int, int]:
    """What such a name says: camera pair, identity in it and place among its ten images, each from 1."""
    pair, identity, _, place = Path(name).stem.split("_")
    return int(pair), int(identity), int(place)


class RawFile:
    """An open `cuhk-03.mat`.

    Raises:
        DataError: of every method, where the file does not hold what it should; the message says which file, and what.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self._file = path, file

    def images(self, kind: str) -> dict[str, Any]:
        """The images there are of one kind (labeled or detected): a name and, to hand to `image`, its cell."""
        found = {}
        with self._reading():
            for pair, camera_pair in enumerate(np.ravel(self._file[kind][()]), start=1):
                cells = self._file[camera_pair][()]  # (10, identities)
                if cells.ndim != 2 or len(cells) != IMAGES:
                    raise ValueError(f"{kind}{{{pair}}} is a cell of {cells.shape[::-1]}, expected identities x 10")
                for identity, row in enumerate(cells.T, start=1):
                    for place, cell in enumerate(row, start=1):
                        if cell and self._file[cell].ndim == 3:  # an empty one is a vector with its dimensions, 0 and 0
                            found[name(pair, identity, place)] = cell
        return found

    def image(self, name: str, cell: Any) -> NDArray[np.uint8]:
        """One image that `images` gave, (H, W, 3)."""
        with self._reading(f" at {name}"):
            pixels = self._file[cell][()]  # (3, W, H)
            if pixels.dtype != np.uint8 or pixels.shape[0] != 3:
                raise ValueError(f"expected an image of H x W x 3 bytes, found {pixels.shape[::-1]}, {pixels.dtype}")
            return np.ascontiguousarray(pixels.T)

    def testsets(self) -> list[set[tuple[int, int]]]:
        """The test sets of the classic protocol: pairs of a camera pair and an identity in it, from 1."""
        with self._reading():
            sets = [self._file[cell][()] for cell in np.ravel(self._file[TESTSETS][()])]
            return [{(int(pair), int(identity)) for pair, identity in pairs.T} for pairs in sets]

    @contextmanager
    def _reading(self, where: str = "") -> Iterator[None]:
        """What h5py raises where a file is damaged, or holds something else."""
        try:
            yield
        except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{self.path} is damaged{where}, or is not CUHK03's file: {error}; {_AGAIN}") from error


@contextmanager
def opened(path: Path) -> Iterator[RawFile]:
    """The file, open as long as the context lasts.

    Raises:
        DataError: it is of MATLAB's old format, cut off or damaged.
    """
    import h5py

    try:
        with path.open("rb") as head:
            old = head.read(len(_OLD)) == _OLD
        if old:
            raise DataError(
                f"{path} is of MATLAB's old format (version 5): the published file is of version 7.3, which is HDF5. "
                f"{_AGAIN[0].upper()}{_AGAIN[1:]}, or save it in MATLAB with save(..., '-v7.3')"
            )
        if not h5py.is_hdf5(path):
            raise DataError(
                f"{path} is no HDF5 file ({path.stat().st_size:,} bytes), as MATLAB's version 7.3 is; {_AGAIN}"
            )
        file = h5py.File(path, "r", locking=False)  # nobody writes it, and some network file systems have no locks
    except OSError as error:
        raise DataError(f"{path} cannot be opened, it is cut off or damaged: {error}; {_AGAIN}") from error
    with file:
        yield RawFile(path, file)


def write(
    path: Path,
    images: Mapping[str, Mapping[str, NDArray[np.uint8]]],
    testsets: Sequence[Sequence[tuple[int, int]]],
) -> None:
    """Write a file in this format: the same arguments give the same bytes.

    Args:
        path: the file.
        images: of each kind by their names, (H, W, 3).
        testsets: of the classic protocol, each of pairs of a camera pair and an identity.
    """
    import h5py

    with h5py.File(path, "w", userblock_size=_HEADER) as file:
        nothing = file.create_dataset("#refs#/empty", data=np.zeros(2, np.uint64))
        nothing.attrs.update({"MATLAB_class": np.bytes_("double"), "MATLAB_empty": np.uint8(1)})

        def array(where: str, values: NDArray[Any], matlab: str) -> Any:
            large = values.nbytes > _COMPRESSED
            made = file.create_dataset(where, data=values.T, compression="gzip" if large else None)
            made.attrs["MATLAB_class"] = np.bytes_(matlab)
            return made.ref

        def cell(where: str, values: NDArray[np.object_]) -> Any:
            made = file.create_dataset(where, data=values.T, dtype=h5py.ref_dtype)
            made.attrs["MATLAB_class"] = np.bytes_("cell")
            return made.ref

        for kind, named in images.items():
            people: dict[int, int] = {}  # of each camera pair
            for pair, identity, _ in map(parse, named):
                people[pair] = max(people.get(pair, 0), identity)
            cells = {pair: np.full((people.get(pair, 0), IMAGES), nothing.ref) for pair in range(1, max(people) + 1)}
            for name, pixels in named.items():
                pair, identity, place = parse(name)
                cells[pair][identity - 1, place - 1] = array(f"#refs#/{kind}/{name}", pixels, "uint8")
            column = np.empty((len(cells), 1), object)
            column[:, 0] = [cell(f"#refs#/{kind}/{pair}", values) for pair, values in cells.items()]
            cell(kind, column)
        column = np.empty((len(testsets), 1), object)
        column[:, 0] = [
            array(f"#refs#/{TESTSETS}/{number}", np.asarray(pairs, np.float64), "double")
            for number, pairs in enumerate(testsets)
        ]
        cell(TESTSETS, column)
    with path.open("r+b") as head:
        head.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM")
