"""CUHK03's images as files: once, out of `cuhk-03.mat` into `images_labeled` and `images_detected`.

The names are those of the published lists, which are torchreid's too, so a folder that its users have extracted is used
as it is. Every image is written beside its place and moved there when it is complete: what has a name is whole, and
an interrupted extraction resumes where it stopped.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from rga.data.base import shorten
from rga.data.progress import watched
from rga.data.reid import cuhk03_lists, cuhk03_raw
from rga.data.reid.cuhk03_lists import Lists
from rga.data.reid.cuhk03_raw import RawFile
from rga.errors import DataError
from rga.files import atomic_file


def folder_name(kind: str) -> str:
    """The folder of a kind of images."""
    return f"images_{kind}"


def missing(folder: Path, names: list[str]) -> list[str]:
    """The names without an image in the folder, which may not exist.

    An empty file, such as a power cut leaves, is no image.
    """
    if not folder.is_dir():
        return names
    with os.scandir(folder) as entries:
        whole = (entry for entry in entries if not entry.name.startswith("."))  # another process may be writing
        present = {entry.name for entry in whole if entry.is_file() and entry.stat().st_size}
    return [name for name in names if name not in present]


def extract(folder: Path, raw: Path, lists: Lists, kind: str) -> None:
    """Write the images that the lists name and the folder lacks; nothing is done where it lacks none.

    Several processes may do so at a time: they write the same files.

    Args:
        folder: where the images go.
        raw: `cuhk-03.mat`.
        lists: what names the images.
        kind: labeled or detected.

    Raises:
        DataError: there is no such file, or it is damaged, or has not all the images that are named (nothing is
            written then), or the images cannot be written.
    """
    absent = missing(folder, lists.names)
    if not absent:
        return
    with source(folder, raw, lists, kind, absent) as (file, cells):
        done = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in watched(absent, f"extracting {folder.name}", len(absent)):
                _save(Image.fromarray(file.image(name, cells[name])), folder / name)
                done += 1
            for left in folder.glob(".*.writing-*"):  # by those that were killed
                left.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"cannot write the images of {raw} into {folder}: {error}. {len(absent) - done:,} of "
                f"{len(lists.names):,} images are still to be written; the same command resumes with them"
            ) from error


@contextmanager
def source(
    folder: Path, raw: Path, lists: Lists, kind: str, absent: list[str]
) -> Iterator[tuple[RawFile, dict[str, Any]]]:
    """`cuhk-03.mat` as the source of absent images: open, with its images of this kind.

    Raises:
        DataError: see `extract`.
    """
    if not raw.is_file():
        raise DataError(_not_there(folder, raw, lists, kind, absent))
    with cuhk03_raw.opened(raw) as file:
        cells = file.images(kind)
        if unknown := [name for name in lists.names if name not in cells]:
            raise DataError(
                f"{lists.path} names {len(unknown):,} images that are not among the {len(cells):,} {kind} ones of "
                f"{raw}: {shorten(unknown)}. {_other_kind(kind)}"
            )
        yield file, cells


def _not_there(folder: Path, raw: Path, lists: Lists, kind: str, absent: list[str]) -> str:
    """What to do about images that are neither extracted nor to be had."""
    if not folder.is_dir():
        return f"no {kind} images of CUHK03: there is neither {folder} nor {raw}, which it is made from"
    strangers = len({path.name for path in folder.glob("*.png")} - {*lists.names})
    return (
        f"{folder} lacks {len(absent):,} of the {len(lists.names):,} images that {lists.path.name} names: "
        f"{shorten(absent)}. "
        + (f"It has {strangers:,} that are not named. {_other_kind(kind)} " if strangers else "")
        + f"Copy the folder again, or put {raw.name} there to extract them from: {raw}"
    )


def _other_kind(kind: str) -> str:
    return f"Are these the lists of the {cuhk03_lists.other(kind)} images?"


def _save(image: Image.Image, path: Path) -> None:
    """Write an image that is there in full or not at all."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    try:
        with atomic_file(path, shared=True, sync=False) as file:
            file.write(buffer.getbuffer())
    except FileNotFoundError:
        if not path.is_file():  # if so, another process has extracted everything, and tidied up
            raise
