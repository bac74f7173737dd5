"""What sets synthetic data apart from real ones: a file in their folder, written when they are complete."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rga.data.base import shorten
from rga.data.listing import is_left_behind
from rga.errors import DataError

MARKER = "demo.json"  # what the set was made from, how much it holds, and its files with their sizes


def recorded(root: str | Path) -> dict[str, Any] | None:
    """What the marker of a demo set says: `options`, and `counts` as in a reader's `PUBLISHED`; None without one."""
    try:
        found = json.loads((Path(root).expanduser() / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"options", "counts"} <= found.keys() else None


def is_synthetic(folder: Path, root: Path) -> bool:
    """Whether a folder of a set at `root`, or one between them, has a marker, or one above what it is a link to.

    `root` may be a file that lists the set: then its folder is meant.
    """
    top = root.expanduser()
    top = top.parent if top.is_file() else top
    between = [place for place in (folder, *folder.parents) if place.is_relative_to(top)]
    real = folder.resolve()
    linked = [] if real.is_relative_to(top.resolve()) else [real, *real.parents]
    return any(recorded(place) is not None for place in (*between, *linked))


def pass_on(folder: Path, root: Path, out: Path, counts: Mapping[str, tuple[int, ...]]) -> None:
    """Mark a set at `out` that is made of images of another one at `root`, if those are synthetic."""
    if is_synthetic(folder, root):
        marker = {"options": {"made of": "synthetic data"}, "counts": counts}
        (out / MARKER).write_text(json.dumps(marker, indent=2) + "\n")


def write(
    root: str | Path,
    options: Mapping[str, Any],
    write_set: Callable[[Path], Mapping[str, tuple[int, ...]]],
    derived: Callable[[Path], Iterable[str]] = lambda folder: (),
) -> Path:
    """Write a demo set at `root`, unless the same one lies there already.

    It is written in a folder beside `root` and moved there when it is complete, so a half-written one is never read.

    Args:
        root: the folder of the set; demo data made from other options are replaced.
        options: all that determines the files.
        write_set: writes the set in a folder, which exists, and gives the counts of its splits.
        derived: gives the names of the files that the set's reader will add to the set in a folder.

    Raises:
        DataError: something else than demo data lies at `root`, or demo data that are to be replaced and, beside them,
            files that are not synthetic data's; or the data have been changed since.
    """
    root, options = Path(root).expanduser(), dict(options)
    if root.absolute() == Path.cwd():
        raise DataError(f"{root} is the folder that one is in, which would be replaced: name one below it")
    if (present := recorded(root)) and present["options"] == options:
        _expect_unchanged(root, present)
        return root
    _refuse_others(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        fresh, old = workplace / "fresh", workplace / "old"
        fresh.mkdir()
        counts = write_set(fresh)
        files = {**dict.fromkeys(derived(fresh)), **{name: (fresh / name).stat().st_size for name in _files(fresh)}}
        marker = {"options": options, "counts": counts, "files": files}
        (fresh / MARKER).write_text(json.dumps(marker, indent=2) + "\n")
        try:
            if root.exists() and (recorded(root) or {}).get("options") != options:
                _refuse_others(root)
                root.rename(old)
            fresh.rename(root)
        except OSError:
            if (recorded(root) or {}).get("options") != options:  # if so, another process was faster: the same files
                raise
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return root


def _expect_unchanged(root: Path, marker: Mapping[str, Any]) -> None:
    """The runs of synthetic data are named by what they are made from, so that has to be what they are."""
    if "files" not in marker:  # of an earlier version
        return
    there = set(_files(root))
    gone = [name for name, size in marker["files"].items() if size is not None and name not in there]
    if found := [*gone, *_others(root, marker["files"], there)]:
        raise DataError(
            f"{root} holds demo data of which {len(found):,} files are gone, have changed or are new: "
            f"{shorten(sorted(found))}. Remove the folder, and they are written anew; or name another one"
        )


def _others(root: Path, own: Mapping[str, int | None], present: Iterable[str]) -> list[str]:
    """The files that are not of a demo set, or not as they were written; of derived ones the size is not known."""
    return [name for name in present if name != MARKER and own.get(name, -1) not in (None, _size(root / name))]


def _refuse_others(root: Path) -> None:
    """Stop where a folder holds what would be lost if it were replaced."""
    if not root.exists():
        return
    present = _files(root) if root.is_dir() else [""]
    if not present and not any(root.iterdir()):
        return
    marker = recorded(root)
    if marker is None:
        raise DataError(f"{root} holds something else than demo data: choose another folder")
    if "files" not in marker:
        raise DataError(
            f"{root} holds demo data of an earlier version, which does not say which of the files are its own: choose "
            "another folder, or remove this one if nothing in it is yours"
        )
    if others := _others(root, marker["files"], present):
        raise DataError(
            f"{root} holds other demo data, which would be replaced, and {len(others):,} files that are not of it, or "
            f"have changed since: {shorten(others)}. Move them, or choose another folder"
        )


def _files(folder: Path) -> list[str]:
    """All files in a folder and below it but for what file browsers leave, relative to it, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not is_left_behind(path.name) and (path.is_symlink() or not path.is_dir())
    )


def _size(path: Path) -> int:
    return os.lstat(path).st_size
