"""RESULTS.md, its images and the README's one table, from the recorded runs and nothing else: `rga report`."""

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path

from rga.errors import ConfigError
from rga.files import write_atomically
from rga.paths import CONF
from rga.printing import markdown
from rga.tables.curves import Curve, curves_of, draw
from rga.tables.filled import Cell, FilledTable, Line
from rga.tables.filling import fill_recorded, override_key
from rga.tables.measured import measured_table
from rga.tables.notes import NO_RUN, footnotes, heading, notes, sources
from rga.tables.origin import origin, runs
from rga.tables.paired import against_baseline
from rga.tables.recorded import recorded_settings
from rga.tables.render import markdown_rows
from rga.tables.spec import Column, available, load

# The README names the table whose main rows it shows: <!-- rga report: gate_init -->
BEGIN, END = "<!-- rga report: {} -->", "<!-- end of what rga report writes -->"
_PLACE = re.compile(rf"{BEGIN.format('(?P<table>.*?)')}\n(?P<rows>.*?){END}", re.DOTALL)
CURVES = Path("experiments", "results", "curves")
SHOWN = Path("experiments", "shown.md")
BENCHMARKS = Path("experiments", "benchmarks")

_HEAD = f"""\
# Results

Written by `rga report` from the runs recorded in `experiments/results/*.jsonl`; a test compares the two. Numbers are in
percent, after the last epoch: the mean over the seeds ± the sample standard deviation (how many seeds); {NO_RUN} no run
yet, or no number in the paper. Compare the rows of a table with each other: the paper's numbers stand beside them
without a difference unless data set, network and budget are the paper's. `rga repeat FINGERPRINT/SEED` makes a run
again and compares it with its record.
"""
_NONE = "No runs are recorded yet."


def report(root: Path, conf: Path = CONF) -> list[Path]:
    """Write everything into the checkout at `root`; gives the files. Images of what is not recorded are removed.

    Raises:
        ConfigError: no checkout, or a README without the two comments between which its table goes.
    """
    if not (root / "README.md").exists():
        raise ConfigError(f"there is no README.md in {root}: use a checkout of the sources")
    tables = recorded_tables(root / "experiments", conf)
    readme = with_summary((root / "README.md").read_text(encoding="utf-8"), tables)
    curves = {root / CURVES / name: draw(panels, rows) for name, (panels, rows) in images(tables).items()}
    texts = {root / "RESULTS.md": page(tables, root / SHOWN), root / "README.md": readme, **curves}
    benchmarks = root / "docs" / "benchmarks.md"
    if benchmarks.exists():
        rows = "\n".join(["", *measured_table(root / BENCHMARKS), ""])
        texts[benchmarks] = _PLACE.sub(lambda place: _between(place, rows), benchmarks.read_text(encoding="utf-8"))
    for path, text in texts.items():
        write_atomically(path, text)
    for path in set((root / CURVES).glob("*.svg")) - texts.keys():
        path.unlink()
    return list(texts)


def recorded_tables(experiments: Path, conf: Path = CONF) -> list[FilledTable]:
    """Every table in every setting in which runs were recorded for it, with the recorded runs only."""
    tables: list[FilledTable] = []
    for table in (load(name, experiments) for name in available(experiments)):
        tables += fill_recorded(table, recorded_settings(table), conf, counted="recorded")
    return list(map(against_baseline, tables))


def page(tables: Sequence[FilledTable], shown: Path) -> str:
    """RESULTS.md: the tables and, if there is such a file, what they show in words."""
    sections = ["\n".join(_section(filled)) for filled in tables]
    words = [shown.read_text(encoding="utf-8")] if shown.exists() else []
    return "\n".join([_HEAD, *(sections or [_NONE]), *words, ""]).rstrip("\n") + "\n"


def with_summary(readme: str, tables: Sequence[FilledTable]) -> str:
    """The README with its table renewed."""
    place = _PLACE.search(readme)
    if place is None:
        raise ConfigError(f"the README lacks the lines between which its table goes: {BEGIN.format('NAME')} and {END}")
    rows = summary([filled for filled in tables if filled.table.name == place["table"]])
    return _PLACE.sub(lambda place: _between(place, rows), readme, count=1)


def _between(place: re.Match[str], rows: str) -> str:
    """The two comments and what stood between them, with `rows` in its stead."""
    return f"{BEGIN.format(place['table'])}\n{rows}{END}"


def summary(tables: Sequence[FilledTable]) -> str:
    """The main rows in Markdown, with the columns that have numbers, and below them what they are of."""
    lines = [""]
    for filled in tables:
        if found := _with_numbers(filled):
            main = [line for line in filled.lines if line.row.main] or filled.lines
            shown = _narrowed(filled, main, found)
            caption = f"{markdown(heading(filled))}. {markdown(' '.join(sources(shown)))}"
            lines += [*markdown_rows(replace(shown, against=None), mark=""), "", caption, ""]
    return "\n".join([*(lines if len(lines) > 1 else ["", _NONE, ""]), ""])


def images(tables: Sequence[FilledTable]) -> dict[str, tuple[dict[str, list[Curve]], list[str]]]:
    """The learning curves by the name of their file: what `draw` is given."""
    found = {}
    for filled in tables:
        for column in filled.columns:
            if panels := curves_of(filled, column):
                found[_file_of(filled, column)] = (panels, [line.row.name for line in filled.lines])
    return found


def _file_of(filled: FilledTable, column: Column) -> str:
    parts = [override if "." in override_key(override) else override.partition("=")[2] for override in filled.overrides]
    own = [] if column.data in parts else [str(column.data)]
    if sum(other.data == column.data for other in filled.columns) > 1:
        own.append(column.name)
    return "-".join(re.sub(r"[^\w.]+", "-", part) for part in (filled.table.stem, *parts, *own)) + ".svg"


def _section(filled: FilledTable) -> list[str]:
    lines, found = [f"## {markdown(heading(filled))}", ""], _with_numbers(filled)
    below = [part for note in footnotes(filled, recorded=False) for part in (markdown(note), "")]
    if not found:
        return [*lines, *below]
    papers = {(cell.column.name, cell.metric) for cell in filled.cells if cell.column.of_the_paper}
    shown = _narrowed(filled, filled.lines, found | papers)
    command = " ".join(["rga table", filled.table.name, *filled.overrides])
    about = [*notes(replace(shown, overrides=())), f"source: {filled.table.source}"]
    lines += [f"- {markdown(line)}" for line in about]
    lines += [f"- command: `{command}`", *(f"- {markdown(line)}" for line in origin(shown.entries))]
    lines += ["", *markdown_rows(shown, mark=""), "", *below, *runs(shown), ""]
    for column in filled.columns:
        if curves_of(filled, column):
            lines += [
                f"![Learning curves: {markdown(heading(filled))}]({CURVES.as_posix()}/{_file_of(filled, column)})",
                "",
            ]
    return lines


def _with_numbers(filled: FilledTable) -> set[tuple[str, str]]:
    """The columns and metrics that have any."""
    return {(cell.column.name, cell.metric) for cell in filled.cells if cell.n}


def _narrowed(filled: FilledTable, lines: Iterable[Line], keep: Set[tuple[str, str]]) -> FilledTable:
    """A table with these lines, and of its columns the metrics that are to be kept."""
    narrow = {
        column.name: replace(
            column, metrics={metric: key for metric, key in column.metrics.items() if (column.name, metric) in keep}
        )
        for column in filled.columns
    }

    def cells(line: Line) -> Iterator[Cell]:
        for cell in line.cells:
            if (cell.column.name, cell.metric) in keep:
                yield replace(cell, column=narrow[cell.column.name])

    columns = tuple(column for column in narrow.values() if column.metrics)
    return replace(filled, columns=columns, lines=tuple(Line(line.row, tuple(cells(line))) for line in lines))
