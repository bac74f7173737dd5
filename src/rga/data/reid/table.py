"""People in a table of one's own: a line for each image, with who is on it, which camera took it and what it is for.

    path,identity,camera,split
    door/000451.jpg,anna,door,train
    till/000817.jpg,ben,till,query
    door/000944.jpg,ben,door,gallery

Identities and cameras are any texts; they are numbered in their order, whole numbers by their value, so the order of
the lines does not matter. Further columns may be there (`rga.data.table_file.read` gives them); nothing here reads
them. Without the column `camera`, or with nothing in it, see `rga.data.base.Names`.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rga.data import audit
from rga.data.base import Names, Sample, Split, shorten
from rga.data.decoding import SUFFIXES
from rga.data.listing import left_out
from rga.data.marker import recorded
from rga.data.table_file import Row
from rga.data.table_file import read as read_table
from rga.errors import DataError

NAME = "reid_table"
PARTS = TRAIN, QUERY, GALLERY = ("train", "query", "gallery")
COLUMNS = ("path", "identity", "split")
CAMERA = "camera"
_LONGEST = 4000  # characters: no path is longer, and no number
_MISSING = ("nan", "none", "null", "na", "n/a", "<na>")  # what programs write for a value that there is not
TABLES = ("table.csv", "table.parquet")  # by these names one is found in a folder


class _Line(NamedTuple):
    """An image, and what the table says of it."""

    path: Path
    identity: str
    camera: str
    split: str
    place: str


def read(root: str | Path, table: str | Path | None = None) -> Split:
    """Read the set that a table lists, in the order of the paths.

    Args:
        root: the folder to which the paths in the table are relative; or the table itself, then to its folder.
        table: the file; None: `root`, or one of `TABLES` in it.

    Raises:
        DataError: the table is missing or cannot be read, see `rga.data.table_file.read`; a line lacks something or has
            a split that there is not; an image is not there, or is listed twice in a split or with other labels; an
            identity is in the training and the test split; or two names differ in leading zeros alone.
    """
    file, folder = _locate(root, table)
    return _split(file, _lines(file, folder))


def check(root: str | Path, name: str = NAME, table: str | Path | None = None) -> audit.Report:
    """What `rga data check` says; there are no published counts to compare with. Errors: see `read`."""
    file, folder = _locate(root, table)
    lines = _lines(file, folder)
    split = _split(file, lines)
    assert split.names is not None
    listed = {line.path for line in lines}
    beside = (Path(entry.path) for top in sorted({path.parent for path in listed}) for entry in os.scandir(top))
    unlisted = [path for path in beside if path.name.lower().endswith(SUFFIXES) and path not in listed]
    notes = left_out(folder, sorted(unlisted), f"beside listed images, in no line of {file.name}")
    notes += [*_doubtful("identities", split.names.identities), *_doubtful("cameras", split.names.cameras or [])]
    parts = {TRAIN: split.train, QUERY: split.query, GALLERY: split.gallery}
    synthetic = (recorded(file.parent) or {}).get("options", {}).get("set") == NAME and file.name in TABLES
    return audit.people(name, Path(root), file.parent if synthetic else file, split, parts, {}, notes=notes)


def _doubtful(what: str, names: Sequence[str]) -> Iterator[str]:
    """Names that may be meant otherwise than they are read, for somebody to look at."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.casefold(), []).append(name)
    if alike := [" and ".join(group) for group in groups.values() if len(group) > 1]:
        yield f"{what} that differ in capitals alone count as different ones: {shorten(alike)}"
    if missing := [name for name in names if name.casefold() in _MISSING]:
        yield f"{shorten(missing)} among the {what} is taken for a name: of images without one, leave it empty"


def _locate(root: str | Path, table: str | Path | None) -> tuple[Path, Path]:
    """The table, and the folder to which its paths are relative."""
    root = Path(root).expanduser()
    if table is not None:
        file = Path(table).expanduser()
        if not root.exists() and root != file:
            raise DataError(f"no folder {root.absolute()} for the images that {file} lists (it does not exist)")
    elif root.is_dir():
        found = [root / name for name in TABLES if (root / name).is_file()]
        if len(found) != 1:
            raise DataError(
                f"{'no' if not found else 'more than one'} table in {root.absolute()}: expected "
                f"{' or '.join(TABLES)} there, or its name (data.table=FILE)"
            )
        file = found[0]
    else:
        file = root
    return file, root if root.is_dir() else file.parent


def _lines(file: Path, folder: Path) -> list[_Line]:
    rows = read_table(file, COLUMNS, (CAMERA,))
    if not rows:
        raise DataError(f"{file} lists no images")
    cameras = any(row.cells.get(CAMERA) for row in rows)
    lines = [_line(file, folder, row, cameras) for row in rows]
    if missing := [line for line in lines if not line.path.is_file()]:
        names = shorten([f"{line.path} ({line.place})" for line in missing])
        first, beside = missing[0].path, missing[0].path.parent
        alike = beside.is_dir() and any(_seen(name) == _seen(first.name) for name in os.listdir(beside))  # noqa: PTH208
        form = f". {first.name} is there, written in another form of Unicode, as macOS does: rename it" if alike else ""
        raise DataError(f"{file} lists {len(missing):,} images that are not there: {names}{form}")
    return lines


def _line(file: Path, folder: Path, row: Row, cameras: bool) -> _Line:
    for column in (*COLUMNS, *([CAMERA] if cameras else [])):
        if not row.cells[column]:
            other = ", but other lines have one" if column == CAMERA else ""
            raise DataError(f"{file}, {row.place}: there is no {column}{other}")
        if len(row.cells[column]) > _LONGEST:
            raise DataError(f"{file}, {row.place}: the {column} has more than {_LONGEST:,} characters")
    if row.cells["split"] not in PARTS:
        raise DataError(f"{file}, {row.place}: the split is {' or '.join(PARTS)}, not {row.cells['split']!r}")
    # Absolute, so that an image has one path and one place in the order. Windows writes paths with backslashes.
    path = os.path.abspath(folder / row.cells["path"].replace("\\", "/"))  # noqa: PTH100 - links stay as they are
    return _Line(Path(path), row.cells["identity"], row.cells.get(CAMERA, ""), row.cells["split"], row.place)


def _split(file: Path, lines: Sequence[_Line]) -> Split:
    lines = sorted(lines, key=lambda line: (os.fspath(line.path), line.split))
    _expect_once(file, lines)
    _expect_apart(file, lines)
    identities = _ordered(file, "identities", (line.identity for line in lines))
    cameras = _ordered(file, "cameras", (line.camera for line in lines))
    images = {path: number for number, path in enumerate(dict.fromkeys(line.path for line in lines))}
    known = cameras != [""]
    number = {name: place for place, name in enumerate(identities)}
    camera = {name: place for place, name in enumerate(cameras)}
    parts: dict[str, list[Sample]] = {part: [] for part in PARTS}
    for line in lines:
        taken_by = camera[line.camera] if known else images[line.path]
        parts[line.split].append(Sample(line.path, number[line.identity], taken_by))
    names = Names(identities, cameras if known else None)
    return Split(parts[TRAIN], parts[QUERY], parts[GALLERY], names=names)


def _ordered(file: Path, what: str, names: Iterable[str]) -> list[str]:
    """Different names, whole numbers first and by their value.

    Raises:
        DataError: two are one number (`7`, `007`, `7.0`), or look the same (`é` as one sign and as two).
    """
    found = sorted(set(names), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
    meant: dict[object, str] = {}
    for name in found:
        number = _number(name)
        other = meant.setdefault(_seen(name) if number is None else number, name)
        if other != name:
            why = "which look the same" if number is None else "as numbers the same"
            raise DataError(f"{file} has the {what} {other} and {name}, {why}: write them alike")
    return found


def _number(name: str) -> Decimal | None:
    """Of digits, maybe with a point: `1e3` and `nan` are texts."""
    return Decimal(name) if re.fullmatch(r"[-+]?\d+(\.\d*)?", name) else None


def _seen(name: str) -> str:
    """A text by what is seen of it: one form of each sign, nothing of no width, and one kind of space."""
    shown = "".join(sign for sign in unicodedata.normalize("NFC", name) if unicodedata.category(sign) != "Cf")
    return " ".join(shown.split())


def _expect_once(file: Path, lines: Sequence[_Line]) -> None:
    """See that no line repeats another one, or contradicts it; an image may both ask and answer."""
    for one, other in pairwise(lines):
        if one.path != other.path:
            continue
        if one.split == other.split:
            raise DataError(f"{file} lists {one.path} twice as {one.split}, in {one.place} and {other.place}")
        if (one.identity, one.camera) != (other.identity, other.camera):
            raise DataError(f"{file} has two labels of {one.path}, in {one.place} and {other.place}")


def _expect_apart(file: Path, lines: Sequence[_Line]) -> None:
    trained = {line.identity: line.place for line in lines if line.split == TRAIN}
    tested = {line.identity: line.place for line in lines if line.split != TRAIN}
    if shared := sorted(trained.keys() & tested.keys()):
        named = [f"{name} ({trained[name]}, {tested[name]})" for name in shared]
        raise DataError(
            f"{file} has {len(shared):,} identities to train on and to test on: {shorten(named)}. Who is tested on is "
            "not trained on"
        )
