"""Learning curves of recorded runs as small images: SVG, the same bytes for the same runs and the same matplotlib."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from rga.tables.filled import FilledTable
from rga.tables.spec import Column

_COLOURS = 10  # matplotlib's own; further rows repeat them with another dash
_DASHES = ("-", "--", ":")


@dataclass(frozen=True)
class Curve:
    """One quantity of one run over its epochs."""

    row: str
    seed: int
    points: tuple[tuple[float, float], ...]  # epoch, value


def curves_of(filled: FilledTable, column: Column) -> dict[str, list[Curve]]:
    """The curves of a column's runs by title: the training loss, and the metrics where they were validated."""
    found: dict[str, list[Curve]] = {}
    wanted = {"training loss": ("loss", 1.0)}
    wanted |= {f"{metric} (%) while training": (f"val/{key}", 100.0) for metric, key in column.metrics.items()}
    for title, (key, unit) in wanted.items():
        for line in filled.lines:
            entry = next(cell.entry for cell in line.cells if cell.column == column)
            for result in entry.results if entry else ():
                points = tuple((point["epoch"], unit * point[key]) for point in result["curve"] if key in point)
                if points:
                    found.setdefault(title, []).append(Curve(line.row.name, int(result["seed"]), points))
    return found


def digest(panels: dict[str, list[Curve]]) -> str:
    """Name what is plotted, whatever matplotlib makes of it; the image carries it in its metadata."""
    plotted = {title: [[c.row, c.seed, c.points] for c in curves] for title, curves in panels.items()}
    return hashlib.sha256(json.dumps(plotted).encode()).hexdigest()


def draw(panels: dict[str, list[Curve]], rows: Sequence[str]) -> str:
    """Draw the panels side by side, a colour for each of `rows` and a line for each seed; gives the SVG's text."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = [row for row in rows if any(curve.row == row for curves in panels.values() for curve in curves)]
    styles = {row: (f"C{place % _COLOURS}", _DASHES[place // _COLOURS % 3]) for place, row in enumerate(shown)}
    style = {"svg.hashsalt": "rga", "svg.fonttype": "none", "font.size": 8, "text.parse_math": False}
    with mpl.rc_context({**mpl.rcParamsDefault, **style}):
        figure = Figure(figsize=(3.4 * len(panels) + 1.6, 2.4), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (title, curves) in zip(axes, panels.items(), strict=True):
            for curve in curves:
                colour, dash = styles[curve.row]
                first = next(other for other in curves if other.row == curve.row) is curve
                label = curve.row if first else f"_{curve.row}"  # matplotlib leaves these out of the legend
                epochs, values = zip(*curve.points, strict=True)
                marker = "." if len(epochs) == 1 else ""
                axis.plot(epochs, values, dash, color=colour, linewidth=1.0, marker=marker, label=label)
            axis.set(xlabel="epoch", title=title)
            axis.spines[["top", "right"]].set_visible(False)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
        file = io.StringIO()
        figure.savefig(
            file, format="svg", metadata={"Date": None, "Creator": "rga report", "Identifier": digest(panels)}
        )
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
