"""`rga report --html FILE`: a page that needs no network, with `rga table`'s numbers and the runs behind them."""

import base64
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rga.errors import ConfigError
from rga.files import write_atomically
from rga.paths import CONF, EXPERIMENTS
from rga.printing import duration
from rga.tables.filled import Entry, FilledTable
from rga.tables.filling import fill, fill_recorded
from rga.tables.formats import as_json
from rga.tables.notes import footnotes, heading, notes
from rga.tables.origin import short_commit
from rga.tables.paired import against_baseline
from rga.tables.recorded import recorded_settings
from rga.tables.render import texts
from rga.tables.spec import available, load, tables_and_overrides

_PARTS = Path(__file__).parent / "html"
_IMAGES = {".png": "image/png", ".svg": "image/svg+xml"}
_PLOTTED = ("epoch", "loss", "val/", "gates/")  # of a curve, by how their names begin
_POINTS = 120  # of a plotted curve
_NOT_COMPARED = ("seed", "paths", "logger", "hydra", "rerun", "objective")  # of a config: they make no other run


def tables_of(words: Sequence[str], experiments: Path = EXPERIMENTS, conf: Path = CONF) -> list[FilledTable]:
    """The tables that `rga report --html FILE N ... OVERRIDES` shows; runs made here count as well.

    Without overrides every table is there as in the paper and in each setting in which it is recorded.

    Raises:
        ConfigError: no such table, or overrides that make no sense.
    """
    names, overrides = tables_and_overrides(words)
    tables = [load(name, experiments) for name in names or available(experiments)]
    if overrides:
        return [against_baseline(fill(table, overrides, conf)) for table in tables]
    settings = ((table, sorted({(), *recorded_settings(table)})) for table in tables)
    return [against_baseline(filled) for table, of in settings for filled in fill_recorded(table, of, conf)]


def write_page(
    out: Path, tables: Sequence[FilledTable], flops: Mapping[str, int] | None = None, figure3: Path | None = None
) -> Path:
    """Write the page of some tables.

    Args:
        flops: of a forward, by a run's fingerprint, of those for which they are known.
        figure3: an image that `rga figure 3` has written: .png or .svg.

    Raises:
        ConfigError: `figure3` is no such image.
    """
    write_atomically(out, html(tables, flops or {}, None if figure3 is None else _embedded(figure3)))
    return out


def html(tables: Sequence[FilledTable], flops: Mapping[str, int], figure3: str | None = None) -> str:
    """The page; what is data stands in one JSON block, in which nothing can end the block.

    Only the page's own scripts run, told by their digests, and nothing is loaded from anywhere. Styles are not told by
    theirs, as Plotly adds some.
    """
    runs: dict[str, Any] = {}
    for filled in tables:
        for entry in filled.entries:
            runs |= {f"{entry.fingerprint}/{result['seed']}": _run(result) for result in entry.results}
    data = {
        "tables": [_table(place, filled, flops) for place, filled in enumerate(tables)],
        "runs": runs,
        "figure3": figure3,
    }
    library, script = ((_PARTS / name).read_text(encoding="utf-8") for name in ("plotly-basic.min.js", "script.js"))
    parts = {
        "policy": " ".join(f"'sha256-{_digest(text)}'" for text in (library, script)),
        "style": (_PARTS / "style.css").read_text(encoding="utf-8"),
        "library": library,
        "script": script,
        "data": json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    }
    page = (_PARTS / "page.html").read_text(encoding="utf-8")
    pieces = page.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _embedded(image: Path) -> str:
    kind = _IMAGES.get(image.suffix.lower())
    if kind is None or not image.is_file():
        raise ConfigError(f"--figure3 {image}: expected a file that rga figure 3 --out wrote, .png or .svg")
    return f"data:{kind};base64,{base64.b64encode(image.read_bytes()).decode()}"


def _table(place: int, filled: FilledTable, flops: Mapping[str, int]) -> dict[str, Any]:
    rows = json.loads(as_json(filled))["rows"]
    base = {
        cell.column.name: cell.entry
        for line in filled.lines
        if line.row.name == filled.table.baseline
        for cell in line.cells
    }
    for row, line, printed in zip(rows, filled.lines, texts(filled), strict=True):
        entries = [cell.entry for cell in line.cells if cell.entry and cell.entry.results]
        row["parameters"] = next((result.get("parameters") for entry in entries for result in entry.results), None)
        row["flops"] = next((flops[entry.fingerprint] for entry in entries if entry.fingerprint in flops), None)
        for cell, source, shown in zip(row["cells"], line.cells, printed, strict=True):
            other = base.get(source.column.name)
            changes = _changes(other, source.entry) if other and line.row.name != filled.table.baseline else []
            cell |= {**shown, "command": _command(source.entry), "changes": changes}
    missing = [
        [line.row.name, cell.column.name, ", ".join(map(str, entry.missing)), _time(entry, filled), entry.command]
        for line, cell, entry in filled.missing()
    ]
    about = [*notes(filled), *footnotes(filled)]
    name = {"id": f"t{place}", "table": filled.table.name, "heading": heading(filled)}
    return {**name, "baseline": filled.table.baseline, "notes": about, "rows": rows, "missing": missing}


def _changes(base: Entry, entry: Entry | None) -> list[list[str]]:
    """What a row's config has other than the baseline's: the setting, its value, and the baseline's."""
    if entry is None or not entry.results or not base.results:
        return []
    mine, theirs = (_flat(_compared(each.results[0].get("config") or {})) for each in (entry, base))
    names = sorted(
        name
        for name in mine.keys() | theirs.keys()
        if mine.get(name) != theirs.get(name) and not name.endswith("._partial_")  # how Hydra calls it
    )
    return [[name, _text(mine, name), _text(theirs, name)] for name in names]


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _NOT_COMPARED}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their full names."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found


def _text(config: Mapping[str, Any], name: str) -> str:
    return str(config[name]) if name in config else "not set"


def _command(entry: Entry | None) -> str | None:
    if entry is None or not entry.results:
        return None
    return replace(entry, missing=tuple(int(result["seed"]) for result in entry.results)).command


def _time(entry: Entry, filled: FilledTable) -> str:
    """What the missing runs would take: as long as those of other seeds, else about as long as other rows."""
    if entry.hours is not None:
        return duration(3600 * len(entry.missing) * entry.hours)
    alike = [other.hours for other in filled.entries if other.hours is not None and _budget(other) == _budget(entry)]
    if not alike:
        return "unknown"
    return f"about {duration(3600 * len(entry.missing) * statistics.median(alike))}, as other rows"


def _budget(entry: Entry) -> tuple[Any, ...]:
    setting = entry.setting
    return setting.data, setting.network, setting.epochs, setting.steps, setting.size


def _run(result: Any) -> dict[str, Any]:
    seconds = result.get("duration_s")
    return {
        "time": "unknown" if seconds is None else duration(seconds),
        "device": result.get("device") or "unknown",
        "commit": short_commit(result.get("commit")),
        "finished": str(result.get("finished_at") or "unknown")[:10],
        "curve": _columns(_spread(result.get("curve") or [])),
    }


def _spread(curve: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """At most `_POINTS` epochs of a curve, equally distant, the last one among them."""
    return curve[:: -max(1, -(-len(curve) // _POINTS))][::-1]


def _columns(curve: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the page plots of a curve: names of values once, and rows of values, null where an epoch has none."""
    names = list(dict.fromkeys(name for entry in curve for name in entry if name.startswith(_PLOTTED)))
    return {"names": names, "rows": [[_short(entry.get(name)) for name in names] for entry in curve]}


def _short(value: Any) -> Any:
    """A number with the digits that a plot can show: of 17 each the page would be twice as large."""
    return float(f"{value:.5g}") if isinstance(value, float) else value
