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
from rga.tables.against import Against, place_of
from rga.tables.filled import Cell, FilledTable, Line
from rga.tables.formats import as_csv, as_json
from rga.tables.notes import NO_NUMBER, NO_RUN, RECORDED, footnotes, legend, notes, source, stale
from rga.tables.spec import Column

Format = Literal["text", "md", "latex", "csv", "json"]


def render(filled: FilledTable, format: Format) -> str:
    """Give the table as a string that ends without a newline; warns of stale records where the format has no notes."""
    if format in ("csv", "json"):
        for note in stale(filled):
            warnings.warn(note, stacklevel=2)
    return _RENDERERS[format](filled).rstrip("\n")


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
    """Line by line, cell by cell, as printed: the paper's number, ours, its heading (`label`), and the differences."""
    digits = filled.table.digits

    def printed(line: Line, cell: Cell) -> dict[str, str]:
        return {
            "label": _label(filled, cell.column),
            "text": _ours(cell, digits, "±", RECORDED),
            "paper_text": _paper(cell, digits),
            "delta_text": _delta(cell, digits),
            "against_text": _against(filled.against, line, cell, digits) if cell.n else "",
        }

    return [[printed(line, cell) for cell in line.cells] for line in filled.lines]


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
        [filled.table.title, source(filled), *notes(filled), "", *body, "", legend(filled), *footnotes(filled)]
    )


def _markdown(filled: FilledTable) -> str:
    head = f"**{markdown(filled.table.title)}** ({markdown(filled.table.source)})"
    lines = [head, "", *(f"- {markdown(note)}" for note in notes(filled))]
    below = "  \n".join([legend(filled), *map(markdown, footnotes(filled))])  # two spaces: a new line
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
        for note in (filled.table.title, source(filled), *notes(filled), *footnotes(filled))
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
