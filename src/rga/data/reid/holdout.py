"""A set of one's own to compare on: the training split of a data set, cut into people to train on and to test on.

For whoever has no test split, or wants to choose something (a block, a learning rate) without it. Every third
identity is tested on; of its images the first in a camera, in the order of the names, asks, and the others answer.
Names and layout stay those of the data set, so its own reader reads the cut. The metrics compare rows with each other:
they are not the data set's.
"""

import os
import shutil
import tempfile
from pathlib import Path

from rga.data import marker, matches, registry
from rga.data.base import Sample, Split, cameras, identities
from rga.data.progress import watched
from rga.data.reid.boxes import GALLERY, PARTS, QUERY, TRAIN
from rga.errors import DataError


def write(name: str, root: str | Path, out: str | Path) -> dict[str, list[Sample]]:
    """Cut the training split of a data set and lay the pieces out as a set of the same layout.

    Images are linked, or copied where the file system does not link; they are never encoded anew. The set is built
    in a folder beside `out` and moved there when it is complete. Nothing is done where it lies already.

    Args:
        name: a choice of conf/data, in three folders like Market-1501: market1501, dukemtmc.
        root: the folder of that data set.
        out: where the new set goes.

    Returns:
        The images of `root` in each split of `out`.

    Raises:
        DataError: the data set is missing or in another layout, or no query of the new set would have a match, or `out`
            holds something else, or cannot be written.
    """
    split = registry.reader(name)(Path(root))
    if not isinstance(split, Split) or not all(TRAIN in sample.path.parts for sample in split.train):
        raise DataError(f"{name} is not laid out in {', '.join(PARTS)}: a holdout set is cut out of one that is")
    parts = cut(split.train)
    out = Path(out).expanduser().absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        if _holds(out, parts):
            return parts
        raise DataError(f"{out} holds something else than this holdout set: choose another folder")
    workplace: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        _fill(workplace / "fresh", parts)
        counts = {
            part: (len(of), len(identities(of)), len(cameras(of)))
            for part, of in zip(("train", "query", "gallery"), parts.values(), strict=True)
        }
        marker.pass_on(parts[TRAIN][0].path.parent, Path(root), workplace / "fresh", counts)
        if out.exists():
            out.rmdir()
        (workplace / "fresh").rename(out)
    except OSError as error:
        if not _holds(out, parts):  # if so, another process was faster: the same files
            raise DataError(f"cannot write {out}: {error}") from error
    finally:
        if workplace is not None:
            shutil.rmtree(workplace, ignore_errors=True)
    return parts


def cut(train: list[Sample]) -> dict[str, list[Sample]]:
    """The rule: which split of the new set each training image goes to."""
    people = identities(train)
    tested = set(people[2::3])
    if not tested:
        raise DataError(f"the training split has {len(people)} identities: a holdout set takes three or more")
    parts: dict[str, list[Sample]] = {part: [] for part in PARTS}
    queried = set()
    for sample in sorted(train, key=lambda sample: sample.path.name):
        seen = (sample.identity, sample.camera)
        if sample.identity not in tested:
            parts[TRAIN].append(sample)
        elif seen not in queried:
            queried.add(seen)
            parts[QUERY].append(sample)
        else:
            parts[GALLERY].append(sample)
    if found := matches.problems(Split(parts[TRAIN], parts[QUERY], parts[GALLERY])):
        raise DataError(
            f"a holdout set of this training split could not be tested on: {found[0]}. It takes people of whom several "
            "cameras have several images each"
        )
    return parts


def _fill(folder: Path, parts: dict[str, list[Sample]]) -> None:
    folder.mkdir()
    for part, samples in parts.items():
        (folder / part).mkdir()
        for sample in watched(samples, f"writing {part}", len(samples)):
            source, target = sample.path.resolve(), folder / part / sample.path.name  # a link to a link could break
            try:
                os.link(source, target)
            except OSError:  # another disk, or a file system without links
                shutil.copy2(source, target)


def _holds(out: Path, parts: dict[str, list[Sample]]) -> bool:
    """Whether `out` is this very set: the same names of the same sizes, and nothing else."""
    try:
        wanted = {f"{part}/{s.path.name}": s.path.stat().st_size for part, samples in parts.items() for s in samples}
        files = (path for path in out.rglob("*") if path.is_file() and path.name != marker.MARKER)
        present = {path.relative_to(out).as_posix(): path.stat().st_size for path in files}
    except OSError:
        return False
    return wanted == present
