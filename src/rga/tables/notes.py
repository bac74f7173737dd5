"""What is told above and below a table: where its numbers come from, what is compared, what the signs mean."""

from collections.abc import Iterable

from rga.tables.against import lower_is_better
from rga.tables.filled import Entry, FilledTable, fewer_queries, precision_of, published_otherwise
from rga.tables.filling import override_key

_PROTOCOL = {
    "task.feature",
    "task.flip",
    "task.window",
    "task.scales",
    "task.mirror",
    "data.test",
}  # settings of a test
NO_RUN = "\N{EN DASH}"
NO_NUMBER = NO_RUN  # as the paper prints it
_CAVEATS = {"demo": "These are NOT results on the paper's data sets."}
_CAVEAT = "These compare with each other, NOT with the paper's."
RECORDED = "\N{DAGGER}"


def heading(filled: FilledTable) -> str:
    """A table's title, and the setting in which it is shown."""
    where = ", ".join(
        override if "." in override_key(override) else override.partition("=")[2] for override in filled.overrides
    )
    return filled.table.title + (f" (here: {where})" if where else "")


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
        these = f"data {data}, network {networks}{f' (not the {named} of the rows)' if other else ''}, {spent}"
        if scale == "paper":
            lines.append(f"ours: {these}")
        else:
            lines.append(f"{scale.upper()}: {these}. {_CAVEATS.get(scale, _CAVEAT)}")
    return lines


def _counted(data: str, entries: Iterable[Entry]) -> str:
    """How many of a data set's queries counted, where not all did; and where it is not the published set."""
    results = [result for entry in entries if entry.setting.data == data for result in entry.results]
    fewer = sorted({found for result in results if (found := fewer_queries(result))})
    said = [f"{'; '.join(f'{counted:,} of {images:,}' for counted, images in fewer)} queries counted"] if fewer else []
    said += dict.fromkeys(filter(None, map(published_otherwise, results)))
    return f" ({'; '.join(said)})" if said else ""


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


def source(filled: FilledTable) -> str:
    return f"source: {filled.table.source}"


def notes(filled: FilledTable) -> list[str]:
    """What is told above the table."""
    other = [override for override in filled.overrides if override_key(override) in _PROTOCOL]
    but = f"; here with {' '.join(other)}" if other else ""
    lines = [f"protocol: {filled.table.protocol}{but}"] if filled.table.protocol else []
    lines += [*sources(filled), *_gates(filled), *_precisions(filled)]
    if filled.overrides:
        lines.append(f"with: {' '.join(filled.overrides)}")
    if any(cell.ours is not None and cell.paper is not None and cell.delta is None for cell in filled.cells):
        lines.append("no difference to the paper where data set, network, scale or settings are not the paper's")
    lines += [f"{line.row.name}: {line.row.note}" for line in filled.lines if line.row.note]
    return lines


def _spent(entry: Entry) -> str:
    """The scale if everything is the paper's, otherwise the budget of our own."""
    setting = entry.setting
    if entry.comparable:
        return f"scale {setting.scale}"
    return setting.budget if setting.scale == "paper" else f"scale {setting.scale}, {setting.budget}"


def legend(filled: FilledTable) -> str:
    """What the signs in the cells mean."""
    dashes = any(cell.paper is None for cell in filled.cells if cell.column.of_the_paper)
    no_number = ", or no number in the paper" if dashes else ""
    return f"{NO_RUN} no run yet{no_number}; ± sample standard deviation (seeds)"


def _comparison(filled: FilledTable) -> list[str]:
    """What the differences to another row are, and over what their intervals go."""
    if filled.against is None:
        return []
    row, differences = filled.against.row, filled.against.differences.values()
    if not differences:
        return [f"vs {row}: nothing to compare, as no other row has a run of a seed that {row} has"]
    lines = [
        f"vs {row}: mean difference over equal seeds, in points, [95 % interval] (seeds, or seeds x queries, that it "
        "is over); not corrected for the number of comparisons"
    ]
    if any(each.low is None for each in differences):
        lines.append("fewer than three seeds in common have no interval")
    if any(lower_is_better(metric) for column in filled.columns for metric in column.metrics.values()):
        lines.append("of errors, a difference below 0 is the better one")
    if filled.against.better:
        lines.append(
            f"bold (in Markdown and LaTeX): better than {row} by more than two pooled standard deviations of the "
            "seeds, and the interval excludes 0"
        )
    return lines


def footnotes(filled: FilledTable, recorded: bool = True) -> list[str]:
    """What is told below the table: what the mark of recorded runs means, and which of them are stale."""
    marked = recorded and any(cell.recorded for cell in filled.cells)
    mark = [f"{RECORDED} with runs that are recorded, not made here"] if marked else []
    return [*mark, *_comparison(filled), *stale(filled)]


def stale(filled: FilledTable) -> list[str]:
    """Name what was recorded and is of no row any more."""
    names = ", ".join(record.name for record in filled.stale)
    count = f"{len(filled.stale)} recorded run{' is' if len(filled.stale) == 1 else 's are'}"
    return [f"stale: {count} of no row any more and not shown: {names}"] if names else []
