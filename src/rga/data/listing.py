"""The images in a folder, and what else is in it: nothing is left out without being counted and named."""

import codecs
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rga.data.base import shorten
from rga.data.decoding import SUFFIXES
from rga.errors import DataError

_NOT_LOOKED_INTO = ("@eaDir", "__MACOSX")  # thumbnails of a network disk, and what macOS packs beside the files
_LEFT_BEHIND = ("Thumbs.db", "desktop.ini", ".DS_Store")  # by file browsers


class Listing(NamedTuple):
    """Paths relative to the folder, sorted.

    Attributes:
        images: files that have an image's suffix, in capitals or not, also in folders below, linked ones included.
        others: all other files, and with a `/` at their end the folders that were not looked into: hidden ones (where
            file browsers keep thumbnails), and links that lead back to where they lie.
    """

    images: list[str]
    others: list[str]


def listing(folder: Path) -> Listing:
    """List a folder; nothing where there is none. What file browsers leave (Thumbs.db, `._` files) is not listed.

    Raises:
        DataError: an image is a link to a file that is not there: it would be missing without a word.
    """
    found = Listing([], [])
    for name, image in _walk(os.fspath(folder), "", ()):
        (found.images if image else found.others).append(name)
    found.images.sort()
    found.others.sort()
    return found


def read_lines(path: Path) -> list[str]:
    """The lines of a text, also one that another system has written: UTF-8 or UTF-16 with its mark, any line ends.

    Raises:
        DataError: the file cannot be read, or is no such text.
    """
    try:
        content = path.read_bytes()
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if utf16 else "utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"cannot read {path}: line {line} is not UTF-8 ({error.reason})") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error


def places(root: str | Path, folders: Iterable[str]) -> list[Path]:
    """Where a data set may lie: at `root`, in one of `folders` in it, or so in torchreid's `reid-data` in it."""
    tops = (Path(root).expanduser(), Path(root).expanduser() / "reid-data")
    return [top / folder for top in tops for folder in ("", *folders)]


def locate(
    root: str | Path,
    title: str,
    inside: Sequence[str],
    needed: Sequence[str],
    *,
    training: Sequence[str] = (),
    source: str = "",
) -> Path:
    """The folder of a data set, of the `places` where it may lie.

    Args:
        root: where to look.
        title: the data set's, for messages.
        inside: the names that its folder may have in `root`.
        needed: what is in it, files and folders, all of them.
        training: of these, what may be missing together: it is the training split, which a test does not need.
        source: what to download, where it is said.

    Raises:
        DataError: some or all are missing.
    """
    source = source and f"; {source}"
    for folder in places(root, inside):
        missing = [name for name in needed if not (folder / name).exists()]
        if missing in ([], list(training)):
            return folder
        if len(missing) < len(needed):
            raise DataError(f"half of {title}: {folder} lacks {', '.join(missing)}{source}")
    for folder in places(root, inside):
        for deeper in sorted(below for below in folder.glob("*") if below.is_dir()):  # as archives unpack in a folder
            if all((deeper / name).exists() for name in needed):
                raise DataError(f"no {title} in {folder.absolute()}, but in {deeper.name} in it: data.root={deeper}")
    root = Path(root).expanduser()
    raise DataError(
        f"no {title} in {root.absolute()}: expected {', '.join(needed)} there, or in {' or '.join(inside)} below it"
        f"{'' if root.is_dir() else ' (the folder does not exist)'}{source}"
    )


def _walk(folder: str, below: str, inside: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """Names, and whether they are of images; `inside` are the real paths of the folders around this one."""
    inside = (*inside, os.path.realpath(folder))
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        name = below + entry.name
        if is_left_behind(entry.name):
            continue
        if entry.is_dir():
            if is_hidden(entry.name) or (entry.is_symlink() and os.path.realpath(entry.path) in inside):
                yield f"{name}/", False
            else:
                yield from _walk(entry.path, f"{name}/", inside)
        else:
            image = entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
            if image and not entry.is_file() and entry.is_symlink():
                raise DataError(
                    f"{entry.path} is a link to a file that is not there ({os.readlink(entry.path)}): bring that back, "  # noqa: PTH115
                    "or remove the link if the image is not of the set"
                )
            yield name, image and entry.is_file()


def is_hidden(folder: str) -> bool:
    """Whether a folder of this name is not looked into: file browsers keep things of their own there."""
    return folder.startswith(".") or folder in _NOT_LOOKED_INTO


def is_left_behind(name: str) -> bool:
    """Whether a file of this name is one that file browsers make by themselves."""
    return name in _LEFT_BEHIND or name.startswith("._")


def left_out(folder: Path, others: Iterable[str | Path], why: str = "no images by their names") -> list[str]:
    """What is left out, in words; nothing where nothing is."""
    names = [os.path.relpath(path, folder) + "/" * path.is_dir() if isinstance(path, Path) else path for path in others]
    if not names:
        return []
    count = f"{len(names):,} {'is' if len(names) == 1 else 'are'} left out"
    return [f"in {folder} {count} ({why}): {shorten(names)}"]
