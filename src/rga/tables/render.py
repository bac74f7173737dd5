"""Print a filled table: text for a terminal, Markdown, LaTeX; CSV and JSON are `export`'s. Numbers are in percent.

The paper's numbers and ours stand in columns of their own, and the heading of ours is the scale where that is not the
paper's: numbers from synthetic data never stand under `ours`. A number with a recorded run in it is marked.
"""

import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from rga.printing import markdown, printable
from rga.tables.filled import Cell, Entry, FilledTable, Line, fewer_queries, precision_of
from rga.tables.formats import as_csv, as_json
from rga.tables.paired import Against, place_of
from rga.tables.spec import Column

Format = Literal["text", "md", "latex", "csv", "json"]
NO_RUN = "\N{EN DASH}"
NO_NUMBER = NO_RUN  # as the paper prints it
_CAVEATS = {"demo": "These are NOT results on the paper's data sets."}
_CAVEAT = "These compare with each other, NOT with the paper's."
RECORDED = "\N{DAGGER}"


def render(filled: FilledTable, format: Format) -> str:
    """Give the table as a string that ends without a newline; warns of stale records where the format has no notes."""
    if format in ("csv", "json"):
        for note in _stale(filled):
            warnings.warn(note, stacklevel=2)
    return _RENDERERS[format](filled).rstrip("\n")


def sources(filled: FilledTable) -> list[str]:
    """Say where the numbers of our own come from: demo data loudly, and a budget that is not the paper's."""
    lines = []
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in filled.entries:
        groups.setdefault((entry.setting.scale, _spent(entry)), []).append(entry)
    for (scale, spent), here in groups.items():
        data = ", ".join(f"{name}{_counted(name, here)}" for name in dict.fromkeys(e.setting.data for e in here))
        networks = ", ".join(dict.fromkeys(entry.setting.network for entry in here))
        named = filled.table.network
        other = named is not None and any(entry.setting.network != named for entry in here)
        source = f"data {data}, network {networks}{f' (not the {named} of the rows)' if other else ''}, {spent}"
        if scale == "paper":
            lines.append(f"ours: {source}")
        else:
            lines.append(f"{scale.upper()}: {source}. {_CAVEATS.get(scale, _CAVEAT)}")
    return lines


def _counted(data: str, entries: Iterable[Entry]) -> str:
    """How many of a data set's queries counted, where not all did."""
    results = (result for entry in entries if entry.setting.data == data for result in entry.results)
    fewer = sorted({found for result in results if (found := fewer_queries(result))})
    return f" ({'; '.join(f'{counted:,} of {images:,}' for counted, images in fewer)} queries counted)" if fewer else ""


def _gates(filled: FilledTable) -> list[str]:
    """Say how the gates of the RGA blocks begin: by it short trainings differ more than by anything else."""
    rows: dict[str, list[str]] = {}
    for line in filled.lines:
        for how in dict.fromkeys(cell.entry.setting.gates for cell in line.cells if cell.entry):
            if how is not None:
                rows.setdefault(how, []).append(line.row.name)
    if len(rows) == 1:
        return [f"RGA's gates {how}" for how in rows]
    return [f"RGA's gates {how} in the rows {'; '.join(names)}" for how, names in rows.items()]


def _precisions(filled: FilledTable) -> list[str]:
    """Say which rows were computed in which precision, where not all were in the same."""
    rows: dict[str, list[str]] = {}
    for line in filled.lines:
        results = (result for cell in line.cells if cell.entry for result in cell.entry.results)
        for precision in dict.fromkeys(map(precision_of, results)):
            rows.setdefault(precision or "unknown", []).append(line.row.name)
    if len(rows) < 2:
        return []
    return [f"precision {precision} in the rows {'; '.join(names)}" for precision, names in rows.items()]


def _source(filled: FilledTable) -> str:
    return f"source: {filled.table.source}"


def notes(filled: FilledTable) -> list[str]:
    """What is told above the table."""
    lines = [f"protocol: {filled.table.protocol}"] if filled.table.protocol else []
    lines += [*sources(filled), *_gates(filled), *_precisions(filled)]
    if filled.overrides:
        lines.append(f"with: {' '.join(filled.overrides)}")
    if any(cell.ours is not None and cell.paper is not None and cell.delta is None for cell in filled.cells):
        lines.append("no difference to the paper where data set, network, scale or budget are not the paper's")
    lines += [f"{line.row.name}: {line.row.note}" for line in filled.lines if line.row.note]
    return lines


def _spent(entry: Entry) -> str:
    """The scale if everything is the paper's, otherwise the budget of our own."""
    setting = entry.setting
    if entry.comparable:
        return f"scale {setting.scale}"
    return setting.budget if setting.scale == "paper" else f"scale {setting.scale}, {setting.budget}"


def _legend(filled: FilledTable) -> str:
    """What the signs in the cells mean."""
    dashes = any(cell.paper is None for cell in filled.cells if cell.column.of_the_paper)
    no_number = ", or no number in the paper" if dashes else ""
    return f"{NO_RUN} no run yet{no_number}; ± sample standard deviation (seeds)"


def _comparison(filled: FilledTable) -> list[str]:
    """What the differences to another row are, and over what their intervals go."""
    if filled.against is None:
        return []
    lines = [
        f"vs {filled.against.row}: mean difference over equal seeds, in points, [95 % interval] (seeds, or seeds x "
        "queries, that it is over); not corrected for the number of comparisons"
    ]
    if filled.against.better:
        lines.append(
            f"bold (in Markdown and LaTeX): better than {filled.against.row} by more than two pooled standard "
            "deviations of the seeds"
        )
    if any(len(each.seeds) == 1 and each.queries for each in filled.against.differences.values()):
        lines.append("(1 x queries): what another seed would give is not in the interval")
    return lines


def footnotes(filled: FilledTable, recorded: bool = True) -> list[str]:
    """What is told below the table: what the mark of recorded runs means, and which of them are stale."""
    marked = recorded and any(cell.recorded for cell in filled.cells)
    mark = [f"{RECORDED} with runs that are recorded, not made here"] if marked else []
    return [*mark, *_comparison(filled), *_stale(filled)]


def _stale(filled: FilledTable) -> list[str]:
    """Name what was recorded and is of no row any more."""
    names = ", ".join(record.name for record in filled.stale)
    count = f"{len(filled.stale)} recorded run{' is' if len(filled.stale) == 1 else 's are'}"
    return [f"stale: {count} of no row any more and not shown: {names}"] if names else []


def _label(filled: FilledTable, column: Column) -> str:
    """What to call our numbers in a column: `ours`, or the scale they come from."""
    scales = {cell.entry.setting.scale for cell in filled.cells if cell.column == column and cell.entry}
    return "ours" if scales <= {"paper"} else "/".join(sorted(scales))


def _paper(cell: Cell, digits: int) -> str:
    return NO_NUMBER if cell.paper is None else f"{cell.paper:.{digits}f}"


def _ours(cell: Cell, digits: int, plus_minus: str, mark: str) -> str:
    if cell.ours is None:
        return NO_RUN
    spread = f" {plus_minus} {cell.std:.{digits}f} ({cell.n})" if cell.std is not None else ""
    return f"{cell.ours:.{digits}f}{spread}{mark if cell.recorded else ''}"


def texts(filled: FilledTable) -> list[list[dict[str, str]]]:
    """Line by line, cell by cell, as printed: the paper's number, ours, and the heading of ours (`label`)."""
    digits = filled.table.digits

    def printed(cell: Cell) -> dict[str, str]:
        ours = _ours(cell, digits, "±", RECORDED)
        return {"label": _label(filled, cell.column), "text": ours, "paper_text": _paper(cell, digits)}

    return [[printed(cell) for cell in line.cells] for line in filled.lines]


def _delta(cell: Cell, digits: int) -> str:
    return "" if cell.delta is None else f"{cell.delta:+.{digits}f}"


def _against(against: Against | None, line: Line, cell: Cell, digits: int) -> str:
    """The difference of a cell to the row that it is compared with; nothing in that row itself."""
    if against is None or line.row.name == against.row:
        return ""
    difference = against.differences.get(place_of(line, cell))
    if difference is None:
        return NO_RUN
    value, low, high = difference.value, difference.low, difference.high
    interval = "" if low is None else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
    queries = f" x {difference.queries}" if difference.queries else ""
    return f"{value:+.{digits}f}{interval} ({len(difference.seeds)}{queries})"


class Bold(str):
    """A text that is bold in formats that have bold letters."""


_Kind = Literal["paper", "ours", "delta", "against"]


def _layout(filled: FilledTable) -> list[tuple[int, _Kind, tuple[str, str, str]]]:
    """The printed columns: the index of the cell, what of it is printed, and the three parts of the heading."""
    layout: list[tuple[int, _Kind, tuple[str, str, str]]] = []
    index = 0
    for column in filled.columns:
        for metric in column.metrics:
            if column.of_the_paper:
                layout.append((index, "paper", (column.name, metric, "paper")))
            layout.append((index, "ours", (column.name, metric, _label(filled, column))))
            if any(line.cells[index].delta is not None for line in filled.lines):
                layout.append((index, "delta", (column.name, metric, "diff")))
            if filled.against and any(place[1:] == (column.name, metric) for place in filled.against.differences):
                layout.append((index, "against", (column.name, metric, f"vs {filled.against.row}")))
            index += 1
    return layout


def _grid(filled: FilledTable, plus_minus: str = "±", mark: str = RECORDED) -> list[list[str]]:
    """The printed cells, row by row, without the headings. A group is named at its first row, as the paper does."""
    digits = filled.table.digits
    show: dict[_Kind, Callable[[Cell], str]] = {
        "paper": lambda cell: _paper(cell, digits),
        "ours": lambda cell: _ours(cell, digits, plus_minus, mark),
        "delta": lambda cell: _delta(cell, digits),
    }
    grid = []
    before: str | None = None
    against, layout = filled.against, _layout(filled)
    for line in filled.lines:
        texts = []
        for index, kind, _ in layout:
            cell = line.cells[index]
            if line.row.literature and kind != "paper":
                texts.append("")
            elif kind == "against":
                texts.append(_against(against, line, cell, digits))
            elif kind == "ours" and against and place_of(line, cell) in against.better:
                texts.append(Bold(show[kind](cell)))
            else:
                texts.append(show[kind](cell))
        group = "" if line.row.group == before else line.row.group or ""
        grid.append([*([group] if filled.table.grouped else []), line.row.name, *line.row.about, *texts])
        before = line.row.group
    return grid


def _names(filled: FilledTable) -> int:
    """How many of the printed columns name the row: its group, if the table has groups, and itself."""
    return 1 + filled.table.grouped


def _text(filled: FilledTable) -> str:
    table = RichTable(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for _ in range(_names(filled)):
        table.add_column("", no_wrap=True)
    for heading in filled.table.about:
        table.add_column(Text(f"\n\n{heading}"), justify="right", no_wrap=True)
    before: tuple[str, str] | None = None
    for _, _, (column, metric, label) in _layout(filled):
        group = (column, metric)
        heading = f"{column}\n{metric}\n{label}" if group != before else f"\n\n{label}"
        table.add_column(Text(heading), justify="right", no_wrap=True)
        before = group
    for row in _grid(filled):
        table.add_row(*(Text(text) for text in row))
    console = Console(file=io.StringIO(), width=1000, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    body = [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]
    return "\n".join(
        [filled.table.title, _source(filled), *notes(filled), "", *body, "", _legend(filled), *footnotes(filled)]
    )


def _markdown(filled: FilledTable) -> str:
    head = f"**{markdown(filled.table.title)}** ({markdown(filled.table.source)})"
    lines = [head, "", *(f"- {markdown(note)}" for note in notes(filled))]
    below = "  \n".join([_legend(filled), *map(markdown, footnotes(filled))])  # two spaces: a new line
    return "\n".join([*lines, "", *markdown_rows(filled), "", below])


def markdown_rows(filled: FilledTable, mark: str = RECORDED) -> list[str]:
    """The table itself in Markdown; `mark` stands at numbers with recorded runs."""
    names = _names(filled)
    headings = [*names * [""], *filled.table.about, *(" ".join(parts) for _, _, parts in _layout(filled))]
    return markdown_table(headings, _grid(filled, mark=mark), names)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """The lines of a table, its first `left` columns to the left and the others to the right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(text, cells)) + " |"

    def text(cell: str) -> str:
        escaped = markdown(cell).replace("|", "\\|")
        return f"**{escaped}**" if isinstance(cell, Bold) else escaped

    return [line(headings), "|" + left * "---|" + "---:|" * (len(headings) - left), *map(line, rows)]


_LATEX = {"\\": r"\textbackslash{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", NO_RUN: "--", "±": r"$\pm$", RECORDED: r"$^\dagger$"}


def _latex(filled: FilledTable) -> str:
    """A tabular of booktabs in a table with a caption."""

    def escape(text: str) -> str:
        return "".join(_LATEX.get(sign, sign) for sign in printable(" ".join(text.splitlines())))

    def cell(text: str) -> str:
        return f"\\textbf{{{escape(text)}}}" if isinstance(text, Bold) else escape(text)

    layout = _layout(filled)
    tops = [parts[0] for _, _, parts in layout]
    about, names = filled.table.about, _names(filled)
    spans = [""] * (names + len(about))
    while tops:
        width = next((number for number, top in enumerate(tops) if top != tops[0]), len(tops))
        spans.append(f"\\multicolumn{{{width}}}{{c}}{{{escape(tops[0])}}}")
        tops = tops[width:]
    seconds = [*names * [""], *map(escape, about)]
    seconds += [escape(f"{metric} {label}") for _, _, (_, metric, label) in layout]
    body: list[str] = []
    for row in _grid(filled):
        if body and names > 1 and row[0]:
            body.append("\\midrule")  # between groups
        body.append(" & ".join(map(cell, row)) + r" \\")
    caption = " ".join(
        f"{escape(note).rstrip('.')}."
        for note in (filled.table.title, _source(filled), *notes(filled), *footnotes(filled))
    )
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{caption}}}",
            f"\\begin{{tabular}}{{{'l' * names}{'r' * (len(seconds) - names)}}}",
            "\\toprule",
            " & ".join(spans) + r" \\",
            " & ".join(seconds) + r" \\",
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
        ]
    )


_RENDERERS: dict[Format, Callable[[FilledTable], str]] = {
    "text": _text,
    "md": _markdown,
    "latex": _latex,
    "csv": as_csv,
    "json": as_json,
}
