"""Files that are there in full or not at all, whatever happens while they are written."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rga.errors import ConfigError, OutsideError

RESULT, LAST = "result.json", "last.ckpt"  # in a run's folder: what is written last, and its weights

_WEB_PAGE = "a web page: the download needs a login or a confirmation in a browser"
_INSTEAD = {  # of a file, by how it begins
    b"version https://git-lfs": "a pointer of Git LFS to the file itself: get that with git lfs pull",
    b"<!doctype html": _WEB_PAGE,
    b"<html": _WEB_PAGE,
}
_OF_WEIGHTS = re.compile(r"\.(?:pth|pt|ckpt|safetensors|bin|tar)(?:$|[^A-Za-z])", re.IGNORECASE)


def names_a_file(weights: object) -> bool:
    """Whether `weights` names a file, existing or not, and not published weights such as IMAGENET1K_V1."""
    text = str(weights)
    return isinstance(weights, str | Path) and ("/" in text or os.sep in text or _OF_WEIGHTS.search(text) is not None)


def instead(path: Path) -> str | None:
    """What a download has left in the place of a file, in words; None where that is not known."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "empty, as after an interrupted download or copy"
    return next((what for start, what in _INSTEAD.items() if head.lstrip().lower().startswith(start)), None)


def weights_path(weights: str | Path) -> Path:
    """The file that `weights` names, existing or not: itself, or the checkpoint in the folder of a finished run.

    Raises:
        ConfigError: it is a folder without a finished run and its checkpoint.
    """
    path = Path(weights).expanduser()
    if not path.is_dir():
        return path
    if not (path / RESULT).is_file():
        if (path / LAST).is_file():
            raise ConfigError(
                f"the run in {path} is not finished: there is no {RESULT}. The command that started it resumes it; "
                f"until then its {LAST} can be named"
            )
        inside = sorted(str(found.parent) for depth in ("*", "*/*") for found in path.glob(f"{depth}/{RESULT}"))
        hint = f"; there are runs in it, name one: {', '.join(inside[:3])}" if inside else ""
        raise ConfigError(f"no finished run in {path}: expected {RESULT} there, and {LAST}{hint}")
    if not (path / LAST).is_file():
        raise ConfigError(f"{path} has no {LAST}, so the weights of its run are not here")
    return path / LAST


@contextmanager
def atomic_file(path: Path, *, shared: bool = False, sync: bool = True) -> Iterator[IO[bytes]]:
    """A binary file beside `path` to write into, which takes its place when the block ends without an error.

    Args:
        path: where the file belongs; its folder is made.
        shared: several processes may write it at once, each then into a file with a name of its own. Without it the
            name is the same each time, so that what a killed process has left is overwritten by the next.
        sync: after the block the file survives a power cut as well.

    Raises:
        OSError: it cannot be written; the temporary file is gone, and what was at `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    own = f"-{os.getpid()}-{secrets.token_hex(4)}" if shared else ""
    temporary = path.with_name(f".{path.name}.writing{own}")
    if not shared:
        temporary.unlink(missing_ok=True)  # not written through: in a folder that somebody sent it may be a link
    file = temporary.open("xb" if shared else "wb")
    try:
        with file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        cause: BaseException | None = error
        while cause is not None:  # PyTorch hides a full disk behind an error of its own
            if isinstance(cause, OSError) and cause.errno is not None and cause.filename is None:
                cause.filename = str(path)
            cause = cause.__context__
        raise
    if sync:
        with suppress(OSError):  # some network and virtual disks do not know it of folders
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the rename itself
            finally:
                os.close(folder)


def remove(path: Path) -> None:
    """Remove a file of a cache that others may share, unless it is another user's, or gone."""
    with suppress(FileNotFoundError, PermissionError):
        path.unlink()


def expect_no_links_out(folder: Path) -> None:
    """See that what is written into a folder stays in it: the folder may be one that somebody has sent.

    Raises:
        OutsideError: something in it, at the first level, is a link to what lies elsewhere.
    """
    own = folder.resolve()
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_symlink() and not path.resolve().is_relative_to(own):
            raise OutsideError(
                f"{path} is a link to {path.resolve()}, outside of its folder, and nothing is written through it: "
                "remove the link, or put the file itself in its place"
            )


def write_atomically(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a text file, in UTF-8, that is there in full or not at all; several processes may do so at once."""
    with atomic_file(path, shared=True, sync=sync) as file:
        file.write(text.encode())
