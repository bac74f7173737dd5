"""`rga data check`: what is on disk against what was published."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rga.data import counts, decoding, matches, registry
from rga.data.base import Sample, Split, cameras, identities, shorten
from rga.data.listing import left_out
from rga.data.marker import recorded
from rga.data.progress import watched
from rga.errors import DataError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Row:
    """The counts of one split: found, and expected (None where nothing is known)."""

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
        rows: the splits.
        source: where the expected counts come from.
        details: what is counted within the splits, a line each.
        problems: what is wrong beside the counts, a line each.
        notes: what whoever uses the set should know, a line each.
    """

    name: str
    root: Path
    columns: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
    source: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

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
        lines += [*self.details, *self.notes, *self.problems]
        lines.append("all is well" if self.ok else "not all is well")
        return "\n".join(lines)


def check(name: str, root: str | Path, *, images: bool = False, **options: str) -> Report:
    """Check a data set: layout, names, counts, and every image by decoding it.

    Args:
        name: a choice of conf/data, such as `market1501`.
        root: its folder, as for the reader.
        images: also compare the images of different splits, see `rga.data.duplicates`.
        options: further ones of its reader, such as a `table`.

    Raises:
        DataError: there is no reader of this name.
        TypeError: it has no such option.
    """
    checker = registry.checker(name)
    inspect.signature(checker).bind(Path(root), name, **options)
    try:
        report: Report = checker(Path(root), name, **options)
        if images:
            from rga.data.duplicates import near_duplicates

            found = near_duplicates(registry.reader(name)(Path(root), **options), Path(root).expanduser())
            none = [
                "no image to test on looks like one to train on (mirror images and larger crops are not looked for)"
            ]
            report.notes.extend(found or none)
    except DataError as error:
        return Report(name, Path(root), problems=[str(error)])
    return report


def rows(
    folder: Path, found: Mapping[str, tuple[int, ...]], published: Mapping[str, Sequence[int]]
) -> tuple[list[Row], str]:
    """The rows of a report, and the source of what they are compared with.

    Args:
        folder: where the set lies; if it holds demo data, the counts that were written are expected.
        found: the counts of each split.
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
    split: Split,
    parts: Mapping[str, Sequence[Sample]],
    published: Mapping[str, Sequence[int]],
    problems: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Report:
    """The report of a re-identification set: images, identities and cameras of each split, every image decoded.

    Args:
        name, root: see `Report`.
        folder: where the set lies, see `rows`.
        split: what the reader gives.
        parts: the images of each row.
        published: the counts of each split; empty where nothing is known.
        problems: what else is wrong, before what the decoding finds.
        notes: what else there is to say.
    """
    found = {
        part: (len(samples), len(identities(samples)), len(cameras(samples)) if split.has_cameras else 0)
        for part, samples in parts.items()
    }
    counted, source = rows(folder, found, published)
    broken = unreadable(dict.fromkeys(sample.path for samples in parts.values() for sample in samples))
    columns = ("images", "identities", "cameras")
    problems, notes = [*problems, *matches.problems(split), *broken], [*notes, *said_of(split, folder)]
    details = [line for part, samples in parts.items() if samples for line in _seen(part, samples, split)]
    return Report(name, root, columns, counted, source, problems, notes, details)


def _seen(part: str, samples: Sequence[Sample], split: Split) -> list[str]:
    """How often each identity is seen, and each camera has."""
    people = Counter(sample.identity for sample in samples)
    lines = [f"{part}: {counts.per('identity', {split.identity(who): people[who] for who in sorted(people)})}"]
    if split.has_cameras:
        places = Counter(sample.camera for sample in samples)
        lines.append(
            f"{part}: {counts.per('camera', {split.camera(place): places[place] for place in sorted(places)})}"
        )
    return lines


def said_of(split: Split, folder: Path) -> list[str]:
    """What whoever uses a re-identification set should know: which files and which queries do not count."""
    lines = [] if split.train else ["there is no training split: the set can be tested on, not trained on"]
    times = Counter(sample.identity for sample in split.train)
    if single := [split.identity(who) for who in sorted(times) if times[who] == 1]:
        lines.append(
            f"{len(single):,} of {len(times):,} identities to train on have one image, which a batch repeats: "
            f"{shorten(single)}"
        )
    asked = {sample.identity for sample in split.query}
    if unasked := [sample for sample in split.gallery if sample.identity not in asked]:
        who = f"{len(identities(unasked)):,} identities that no query asks for"
        lines.append(f"{len(unasked):,} gallery images are of {who}: they can only be wrong answers")
    return [*lines, *left_out(folder, split.others), *matches.notes(split)]


def unreadable(paths: Iterable[Path]) -> list[str]:
    """Decode every image; a message for each that cannot be."""
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
