"""`rga data check`: what is on disk against what was published."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rga.data import pictures
from rga.data.base import DataError, Sample, cameras, identities, shorten
from rga.data.marker import recorded
from rga.data.progress import watched


@dataclass(frozen=True)
class Row:
    """Images, identities and cameras of one part: found, and expected (None where nothing is known)."""

    part: str
    found: tuple[int, int, int]
    expected: tuple[int, int, int] | None

    @property
    def ok(self) -> bool:
        return self.expected is None or self.found == self.expected


@dataclass(frozen=True)
class Report:
    """The result of a check. `ok`: nothing is missing, everything can be read. `str()` is what to print."""

    name: str
    root: Path
    source: str  # where the expected counts come from
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return bool(self.rows) and not self.problems and all(row.ok for row in self.rows)

    def __str__(self) -> str:
        lines = [f"{self.name} in {self.root}", f"{'':14}{'images':>16}{'identities':>16}{'cameras':>12}"]
        for row in self.rows:
            cells = []
            for number, width in zip(range(3), (16, 16, 12), strict=True):
                found = row.found[number]
                wrong = row.expected is not None and row.expected[number] != found
                cells.append(
                    (f"{found:,} != {row.expected[number]:,}" if wrong and row.expected else f"{found:,}").rjust(width)
                )
            lines.append(f"{row.part:14}" + "".join(cells))
        if any(not row.ok for row in self.rows):
            lines.append(f"found != expected: the counts differ from {self.source}")
        elif self.rows:
            lines.append(f"the counts are those of {self.source}")
        lines += self.problems
        lines.append("all is well" if self.ok else "not all is well")
        return "\n".join(lines)


def check(name: str, root: str | Path) -> Report:
    """Check a data set: layout, names, counts, and every picture by decoding it.

    Args:
        name: a reader, such as `market1501`.
        root: its folder, as for the reader.

    Raises:
        DataError: there is no reader of this name.
    """
    module = f"rga.data.{name}"
    try:
        reader = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(f"no reader {name!r}") from error
    if not hasattr(reader, "scan"):
        raise DataError(f"no reader {name!r}")
    root = Path(root)
    expected, source = reader.PUBLISHED, "the published data set"
    try:
        split, strangers = reader.scan(root)
        if written := recorded(reader.locate(root)):
            expected, source = written["counts"], "the demo data that were written"
    except DataError as error:
        return Report(name, root, source, problems=[str(error)])
    parts: dict[str, list[Sample]] = reader.parts(split)
    rows = []
    for part, samples in parts.items():
        found = (len(samples), len(identities(samples)), len(cameras(samples)))
        rows.append(Row(part, found, tuple(expected[part]) if part in expected else None))
    problems = []
    if strangers:
        problems.append(f"{len(strangers)} names that do not parse: {shorten([str(path) for path in strangers])}")
    if shared := set(identities(split.train)) & set(identities(split.query)):
        problems.append(
            f"{len(shared)} identities are in the training and in the test part: {shorten([*map(str, sorted(shared))])}"
        )
    problems += _unreadable([*(sample.path for samples in parts.values() for sample in samples), *strangers])
    return Report(name, root, source, rows, problems)


def _unreadable(paths: list[Path]) -> list[str]:
    def problem(path: Path) -> str | None:
        try:
            pictures.load(path)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter's lock
        return [text for text in watched(pool.map(problem, paths), "decoding", len(paths)) if text is not None]
