"""`rga report --html FILE`: a page that needs no network, with `rga table`'s numbers and the runs behind them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rga.files import write_atomically
from rga.paths import CONF, EXPERIMENTS
from rga.tables.filled import Entry, FilledTable
from rga.tables.filling import fill
from rga.tables.formats import as_json
from rga.tables.notes import footnotes, notes
from rga.tables.origin import short_commit
from rga.tables.pages import heading
from rga.tables.recorded import recorded_settings
from rga.tables.render import texts
from rga.tables.spec import available, load

_PARTS = Path(__file__).parent / "html"


def write_page(out: Path, experiments: Path = EXPERIMENTS, conf: Path = CONF) -> Path:
    """Write every table, as in the paper and in each setting in which it is recorded; runs made here count as well."""
    filled = []
    for table in (load(name, experiments) for name in available(experiments)):
        filled += [fill(table, overrides, conf) for overrides in sorted({(), *recorded_settings(table)})]
    write_atomically(out, html(filled))
    return out


def html(tables: Sequence[FilledTable]) -> str:
    """The page; what is data stands in one JSON block, in which nothing can end the block."""
    runs: dict[str, Any] = {}
    for filled in tables:
        for entry in filled.entries:
            runs |= {f"{entry.fingerprint}/{result['seed']}": _run(result) for result in entry.results}
    data = {"tables": [_table(place, filled) for place, filled in enumerate(tables)], "runs": runs}
    parts = {
        "style": (_PARTS / "style.css").read_text(encoding="utf-8"),
        "library": (_PARTS / "plotly-basic.min.js").read_text(encoding="utf-8"),
        "script": (_PARTS / "script.js").read_text(encoding="utf-8"),
        "data": json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    }
    page = (_PARTS / "page.html").read_text(encoding="utf-8")
    pieces = page.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def _table(place: int, filled: FilledTable) -> dict[str, Any]:
    rows = json.loads(as_json(filled))["rows"]
    for row, line, printed in zip(rows, filled.lines, texts(filled), strict=True):
        results = [result for cell in line.cells if cell.entry for result in cell.entry.results]
        row["parameters"] = next((result.get("parameters") for result in results), None)
        for cell, source, shown in zip(row["cells"], line.cells, printed, strict=True):
            cell |= {**shown, "command": _command(source.entry)}
    missing = [
        [line.row.name, cell.column.name, ", ".join(map(str, entry.missing)), _hours(entry), entry.command]
        for line, cell, entry in filled.missing()
    ]
    about = [*notes(filled), *footnotes(filled)]
    name = {"id": f"t{place}", "table": filled.table.name, "heading": heading(filled)}
    return {**name, "notes": about, "rows": rows, "missing": missing}


def _command(entry: Entry | None) -> str | None:
    if entry is None or not entry.results:
        return None
    return replace(entry, missing=tuple(int(result["seed"]) for result in entry.results)).command


def _hours(entry: Entry) -> str:
    """What the missing runs would take if they took as long as those of other seeds."""
    return "unknown" if entry.hours is None else f"{len(entry.missing) * entry.hours:.2f}"


def _run(result: Any) -> dict[str, Any]:
    seconds = result.get("duration_s")
    return {
        "hours": "unknown" if seconds is None else f"{seconds / 3600:.2f}",
        "device": result.get("device") or "unknown",
        "commit": short_commit(result.get("commit")),
        "curve": result.get("curve") or [],
    }
