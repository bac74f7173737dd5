"""All tables with their titles and how many of their runs there are: `rga table` without a name. No torch."""

import io
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from rga.paths import CONF, EXPERIMENTS
from rga.runs import find_results
from rga.runs.compose import compose
from rga.tables.filled import Entry
from rga.tables.filling import fill, fill_recorded
from rga.tables.recorded import RESULTS, read_records, recorded_settings
from rga.tables.spec import Table, available, load

_LEGEND = """\
filled: for how many of its configs there is a finished run, of any seed; here, recorded: where the runs are
rga table NAME prints a table, rga table NAME --run makes the runs that are missing; rga cost measures the blocks"""


def list_tables(experiments: Path = EXPERIMENTS, conf: Path = CONF) -> str:
    """A line for each table, and one for each further setting in which runs of it are recorded."""
    table = RichTable(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for heading, left in (("table", True), ("filled", False), ("here", False), ("recorded", False), ("", True)):
        table.add_column(Text(heading), justify="left" if left else "right", no_wrap=True)
    data = _data_with_runs(compose(conf=conf)["paths"]["runs"], experiments / RESULTS.name)
    for spec in (load(name, experiments) for name in available(experiments)):
        table.add_row(*map(Text, (spec.name, *_counts(spec, conf, data), spec.title)))
        for filled in fill_recorded(spec, filter(None, recorded_settings(spec)), conf):
            table.add_row(*map(Text, ("", *_counted(filled.entries), f"with {' '.join(filled.overrides)}")))
    console = Console(file=io.StringIO(), width=1000, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    body = [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]
    return "\n".join([*body, "", _LEGEND])


def _data_with_runs(runs: str, recorded: Path) -> set[str | None]:
    """The data sets of all the runs there are."""

    def name(result: Mapping[str, Any]) -> str | None:
        data = (result.get("config") or {}).get("data") or {}
        return data.get("name")

    here = {name(result) for found in find_results(runs).values() for result in found}
    return here | {name(record.result) for record in read_records(recorded)}


def _counts(spec: Table, conf: Path, data: Set[str | None]) -> tuple[str, str, str]:
    """What is filled, and how many runs are here and recorded.

    `data` are the data sets of all runs: a table without any of them is not composed, which would take seconds for all.
    """
    configs = [column.data for row in spec.rows for column in spec.columns if spec.runnable(row, column) is not None]
    if not data & {None, *configs}:
        return f"0 of {len(configs)}", "0", "0"
    return _counted(fill(spec, (), conf).entries)


def _counted(entries: Sequence[Entry]) -> tuple[str, str, str]:
    recorded = sum(len(entry.recorded) for entry in entries)
    here = sum(len(entry.results) for entry in entries) - recorded
    return f"{sum(bool(entry.results) for entry in entries)} of {len(entries)}", str(here), str(recorded)
