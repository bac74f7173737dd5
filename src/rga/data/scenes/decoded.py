"""Decoded scenes on disk: a 1024 x 2048 PNG and its label take a tenth of a second of a core, each time they are seen.

A scene is a file of its own, written by whoever decodes it first and complete whenever it is there: rows of the image's
3 w bytes and the label's w. Its name tells of which files it is; of changed ones (size, time, what labels mean) there
is another name.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rga.data import decoding
from rga.data.base import Colour, Scene
from rga.data.scenes import annotated
from rga.errors import DataError
from rga.files import atomic_file, remove

log = logging.getLogger("rga")

Pixels = NDArray[np.uint8]
_FORMAT = 1  # raise it when the bytes of a decoded scene change


class Decoded:
    """Loads scenes as `annotated.load`, from a folder where they are there already.

    Args:
        folder: of the decoded scenes; None: every scene is decoded each time.
        lookup, painted: see `SceneSplit`.
    """

    def __init__(self, folder: str | Path | None, lookup: Pixels, painted: Mapping[Colour, int] | None = None) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self.lookup, self.painted = lookup, painted
        self._labels = hashlib.sha256(lookup.tobytes() + repr(sorted((painted or {}).items())).encode()).hexdigest()

    def load(self, scene: Scene) -> tuple[Pixels, Pixels]:
        """The image (H, W, 3) and its labels (H, W).

        Raises:
            DataError: see `annotated.load`; or what is decoded cannot be written.
        """
        if self.folder is None:
            return annotated.load(scene, self.lookup, self.painted)
        file = self.file(scene)
        try:
            rows: Pixels = np.load(file, mmap_mode="r")
        except (FileNotFoundError, ValueError, EOFError):  # or it is damaged
            image, label = annotated.load(scene, self.lookup, self.painted)
            self._write(file, np.concatenate([image.reshape(len(image), -1), label], axis=1))
            return image, label
        width = rows.shape[1] // 4
        return rows[:, : 3 * width].reshape(len(rows), width, 3), rows[:, 3 * width :]

    def file(self, scene: Scene) -> Path:
        """Where a scene is, or would be."""
        assert self.folder is not None
        stats = [path.stat() for path in (scene.image, scene.label)]
        state = [_FORMAT, self._labels, [[stat.st_size, stat.st_mtime_ns] for stat in stats]]
        return self.folder / f"{_place(scene)}-{_digest(state)}.npy"

    def prepare(self, scenes: Sequence[Scene]) -> None:
        """Say how much will be written, and remove what is of files that have changed.

        Raises:
            DataError: there is not as much room.
        """
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        files, present = {self.file(scene): scene for scene in scenes}, set(self.folder.glob("scene-*.npy"))
        places = {_place(scene) for scene in scenes}
        if stale := [file for file in present - files.keys() if file.stem.rpartition("-")[0] in places]:
            log.warning("%d decoded images in %s are of files that have changed: removed", len(stale), self.folder)
            for file in stale:
                remove(file)
        missing = [scene for file, scene in files.items() if file not in present]
        needed = sum(4 * height * width for height, width in (decoding.shape(scene.image) for scene in missing))
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise DataError(
                f"the decoded images take {needed:,} bytes, and {free:,} are free in {self.folder}: "
                "data.cache=null does without"
            )
        log.info(
            "decoded images in %s: %d of %d; the others take %s bytes there",
            self.folder, len(files) - len(missing), len(files), f"{needed:,}",
        )  # fmt: skip

    def _write(self, file: Path, rows: Pixels) -> None:
        try:
            with atomic_file(file, shared=True) as out:
                np.lib.format.write_array(out, np.ascontiguousarray(rows), allow_pickle=False)
        except OSError as error:
            raise DataError(
                f"cannot write a decoded image ({rows.nbytes:,} bytes) into {file.parent}: {error}"
            ) from error


def _place(scene: Scene) -> str:
    return f"scene-{_digest([str(scene.image.absolute()), str(scene.label.absolute())])}"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
