"""`rga data check`: what is on disk against what was published."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rga.data import decoding, registry
from rga.data.base import Sample, cameras, identities
from rga.data.marker import recorded
from rga.data.progress import watched
from rga.errors import DataError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Row:
    """The counts of one part: found, and expected (None where nothing is known)."""

    part: str
    found: tuple[int, ...]
    expected: tuple[int, ...] | None

    @property
    def ok(self) -> bool:
        return self.expected is None or self.found == self.expected


@dataclass(frozen=True)
class Report:
    """The result of a check. `ok`: nothing is missing, everything can be read. `str()` is what to print.

    Args:
        name: the data set's.
        root: where it was looked for.
        columns: what is counted, such as images and identities.
        rows: the parts.
        source: where the expected counts come from.
        problems: what is wrong beside the counts, a line each.
        note: what whoever uses the set should know.
    """

    name: str
    root: Path
    columns: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
    source: str = ""
    problems: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def ok(self) -> bool:
        return bool(self.rows) and not self.problems and all(row.ok for row in self.rows)

    def __str__(self) -> str:
        lines = [f"{self.name} in {self.root}"]
        if self.rows:
            lines.append(f"{'':14}" + "".join(f"{column:>16}" for column in self.columns))
        for row in self.rows:
            expected = row.expected or row.found
            cells = [
                f"{found:,}" if found == right else f"{found:,} != {right:,}"
                for found, right in zip(row.found, expected, strict=True)
            ]
            lines.append(f"{row.part:14}" + "".join(f"{cell:>16}" for cell in cells))
        if any(not row.ok for row in self.rows):
            lines.append(f"found != expected: the counts differ from {self.source}")
        elif any(row.expected for row in self.rows):
            lines.append(f"the counts are those of {self.source}")
        elif self.rows:
            lines.append("there are no published counts to compare these with")
        lines += [self.note] if self.note else []
        lines += self.problems
        lines.append("all is well" if self.ok else "not all is well")
        return "\n".join(lines)


def check(name: str, root: str | Path) -> Report:
    """Check a data set: layout, names, counts, and every picture by decoding it.

    Args:
        name: a choice of conf/data, such as `market1501`.
        root: its folder, as for the reader.

    Raises:
        DataError: there is no reader of this name.
    """
    checker = registry.checker(name)
    try:
        report: Report = checker(Path(root), name)
    except DataError as error:
        return Report(name, Path(root), problems=[str(error)])
    return report


def rows(
    folder: Path, found: Mapping[str, tuple[int, ...]], published: Mapping[str, Sequence[int]]
) -> tuple[list[Row], str]:
    """The rows of a report, and the source of what they are compared with.

    Args:
        folder: where the set lies; if it holds demo data, the counts that were written are expected.
        found: the counts of each part.
        published: the counts of the published set; empty where nothing is known.
    """
    expected, source = published, "the published data set"
    if written := recorded(folder):
        expected, source = written["counts"], "the demo data that were written"
    return [
        Row(part, counts, tuple(expected[part]) if part in expected else None) for part, counts in found.items()
    ], source


def people(
    name: str,
    root: Path,
    folder: Path,
    parts: Mapping[str, Sequence[Sample]],
    published: Mapping[str, Sequence[int]],
    problems: Sequence[str] = (),
    note: str = "",
) -> Report:
    """The report of a re-identification set: images, identities and cameras of each part, every picture decoded.

    Args:
        name, root, note: see `Report`.
        folder: where the set lies, see `rows`.
        parts: the pictures of each part.
        published: the counts of each part; empty where nothing is known.
        problems: what else is wrong, before what the decoding finds.
    """
    found = {part: (len(samples), len(identities(samples)), len(cameras(samples))) for part, samples in parts.items()}
    counted, source = rows(folder, found, published)
    broken = unreadable(sample.path for samples in parts.values() for sample in samples)
    return Report(name, root, ("images", "identities", "cameras"), counted, source, [*problems, *broken], note)


def unreadable(paths: Iterable[Path]) -> list[str]:
    """Decode every picture; a message for each that cannot be."""
    return attempt(paths, lambda path: decoding.load(path).shape)[1]  # the pixels are not kept


def attempt(items: Iterable[T], read: Callable[[T], R]) -> tuple[list[R], list[str]]:
    """Read every item; what was read, and a message for each that cannot be."""
    items = list(items)

    def one(item: T) -> tuple[R | None, str]:
        try:
            return read(item), ""
        except DataError as error:
            return None, str(error)

    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter's lock
        done = list(watched(pool.map(one, items), "decoding", len(items)))
    return [found for found, _ in done if found is not None], [problem for _, problem in done if problem]
