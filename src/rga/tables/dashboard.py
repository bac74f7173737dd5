"""`rga dashboard`: a wandb workspace and a report of tables, made by wandb-workspaces from the tables themselves.

The runs are found by what `rga.training.loggers` logs of them: the fingerprints that fill the table's cells, the flat
choices of their config, epochs as the axis. Which views are there already is kept beside the runs, so that a second
call renews them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rga.errors import ConfigError
from rga.files import write_atomically
from rga.tables.filled import FilledTable
from rga.tables.filling import canonical
from rga.tables.notes import heading
from rga.tables.render import render
from rga.tables.spec import Column

_TITLE = 128  # characters that wandb takes
VIEWS = "dashboards.json"  # in `paths.runs`: the addresses of the views by table


def specification(filled: FilledTable, entity: str, project: str) -> dict[str, Any]:
    """What would be sent, as plain containers: `workspace` and `report`."""
    workspace, report = workspace_of(filled, entity, project), report_of(filled, entity, project)
    return {
        "table": filled.table.name,
        "entity": entity,
        "project": project,
        "workspace": json.loads(workspace._to_model().model_dump_json(by_alias=True, exclude_none=True)),  # noqa: SLF001
        "report": json.loads(report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)),  # noqa: SLF001
    }


def send(filled: FilledTable, entity: str, project: str, runs: Path) -> list[str]:
    """Make the views of a table in wandb, or renew those that were made from here; gives their addresses."""
    reports, workspaces = _library()
    kept = runs / VIEWS
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    place = " ".join([f"{entity}/{project}/{filled.table.label}", *canonical(filled.overrides)])
    before = known.get(place, {})
    workspace, report = workspace_of(filled, entity, project), report_of(filled, entity, project)
    if "workspace" in before:
        old = workspaces.Workspace.from_url(before["workspace"])
        old.sections, old.runset_settings = workspace.sections, workspace.runset_settings
        workspace = old
    if "report" in before:
        old = reports.Report.from_url(before["report"])
        old.blocks, old.description = report.blocks, report.description
        report = old
    known[place] = dict(before)
    for name, view in (("workspace", workspace), ("report", report)):
        view.save()
        known[place][name] = str(view.url)
        write_atomically(kept, json.dumps(known, indent=2))  # at once: what is saved is renewed if the next one fails
    return list(known[place].values())


def workspace_of(filled: FilledTable, entity: str, project: str) -> Any:
    """The table's runs, a group for each config: a workspace has one set of runs for the panels of all columns."""
    reports, workspaces = _library()
    from wandb_workspaces import expr

    shown = [column for column in filled.columns if column.data is not None]
    first = next(iter(shown[0].metrics.values())) if shown else "rank1"
    columns = ["config:attention.value", "config:data.value", "config:scale.value", "config:seed.value"]
    metrics = dict.fromkeys(f"summary:{key}" for column in shown for key in column.metrics.values())
    keys = {metric: key for column in shown for metric, key in column.metrics.items()}
    sections = [
        workspaces.Section(name="Metrics", panels=_panels(reports, keys, "group"), is_open=True),
        workspaces.Section(name="Cost", panels=_cost(reports, first), is_open=True),
        workspaces.Section(name="Gates", panels=_gates(reports, "group"), is_open=True),
    ]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=title_of(filled),
        sections=sections,
        runset_settings=workspaces.RunsetSettings(
            filters=expr.And(_filling(filled)),
            groupby=[expr.Config("data"), expr.Metric("Group")],
            order=[expr.Ordering(expr.Summary(first), ascending=False)],
            pinned_columns=[*columns, *metrics, "summary:parameters", "summary:flops", "summary:hours"],
        ),
    )


def report_of(filled: FilledTable, entity: str, project: str) -> Any:
    """The table as it is printed, then for each column the runs that fill it."""
    reports, _ = _library()
    from wandb_workspaces import expr

    table = filled.table
    blocks: list[Any] = [
        reports.MarkdownBlock(text=render(filled, "md")),
        reports.PanelGrid(
            runsets=[_runset(reports, filled, "The table", expr.Tags().isin([run_of_table(filled)]))],
            panels=_laid_out(reports, [reports.WeavePanelSummaryTable(table_name=table_key(filled))]),
        ),
    ]
    for column in filled.columns:
        if column.data is None:
            continue
        first, by = next(iter(column.metrics.values())), _by(reports, filled)
        titled = {f"{column.name} {metric}": key for metric, key in column.metrics.items()}
        panels = [*_panels(reports, titled, by), *_cost(reports, first), *_gates(reports, by)]
        runset = _runset(reports, filled, column.name, _filling(filled, column))
        grid = reports.PanelGrid(runsets=[runset], panels=_laid_out(reports, panels))
        blocks += [reports.H2(text=column.name), grid]
    return reports.Report(
        entity=entity,
        project=project,
        title=title_of(filled).replace("/", " "),  # it is a part of the address
        description=table.source,
        blocks=blocks,
        width="fluid",
    )


def _filling(filled: FilledTable, column: Column | None = None) -> Any:
    """That a run fills a cell of the table, or of one of its columns: by its fingerprint, which nothing else has."""
    from wandb_workspaces import expr

    entries = [cell.entry for cell in filled.cells if cell.entry and column in (None, cell.column)]
    return expr.Config("fingerprint").isin(sorted({entry.fingerprint for entry in entries}))


def title_of(filled: FilledTable) -> str:
    """The table's title, and its setting in full."""
    where = heading(replace(filled, overrides=canonical(filled.overrides))).removeprefix(filled.table.title)
    return filled.table.title[: max(_TITLE - len(where), 0)] + where[:_TITLE]


def run_of_table(filled: FilledTable) -> str:
    """The id of the wandb run that a table in its setting is logged to, such as table-1 or table-1-scale-demo."""
    return re.sub(r"[^\w.]+", "-", " ".join([filled.table.label, *canonical(filled.overrides)]))[:_TITLE]


def table_key(filled: FilledTable) -> str:
    """Under which a table is logged to wandb."""
    return filled.table.stem


def _panels(reports: Any, metrics: Mapping[str, str], by: Any) -> list[Any]:
    """Bars of each metric, by its title, with the spread of the seeds, and the learning curves."""
    grouped = {"groupby": by, "groupby_aggfunc": "mean"}
    bars = [
        reports.BarPlot(title=title, metrics=[key], groupby_rangefunc="stddev", **grouped)
        for title, key in metrics.items()
    ]
    watched = {"training loss": "epoch/loss"}
    watched |= {f"{metric} while training": f"val/{key}" for metric, key in metrics.items()}
    curves = [
        reports.LinePlot(title=title, x="epoch", y=[key], groupby_rangefunc="minmax", **grouped)
        for title, key in watched.items()
    ]
    return [*bars, *curves]


def _cost(reports: Any, metric: str) -> list[Any]:
    """Accuracy against what it costs."""
    return [
        reports.ScatterPlot(
            title=f"{metric} against {cost}", x=reports.SummaryMetric(cost), y=reports.SummaryMetric(metric)
        )
        for cost in ("parameters", "flops")
    ]


def _gates(reports: Any, by: Any) -> list[Any]:
    """What the gates of all stages do over the epochs."""
    return [
        reports.LinePlot(
            title=f"{kind} gates: {statistic}", x="epoch", metric_regex=f"gates/.*/{kind}/{statistic}",
            groupby=by, groupby_aggfunc="mean", groupby_rangefunc="minmax",
        )
        for kind in ("spatial", "channel")
        for statistic in ("mean", "std", "saturated")
    ]  # fmt: skip


def _by_attention(filled: FilledTable) -> bool:
    """Whether a row is a block, and not a setting of one."""
    own = [row.overrides for row in filled.table.rows if row.overrides is not None]
    return all(len(overrides) == 1 and overrides[0].startswith("attention=") for overrides in own)


def _by(reports: Any, filled: FilledTable) -> Any:
    return reports.Config("attention") if _by_attention(filled) else "group"


def _runset(reports: Any, filled: FilledTable, name: str, which: Any) -> Any:
    """Runs of the report's own project; one that is named would have to be there already."""
    from wandb_workspaces import expr

    by = "config.attention" if _by_attention(filled) else "group"
    return reports.Runset(name=name, filters=expr.And(which), groupby=[by])


def _laid_out(reports: Any, panels: Sequence[Any]) -> list[Any]:
    """Three beside each other, of the 24 units of a row; one alone takes all of it."""
    width = 24 if len(panels) == 1 else 8
    for number, panel in enumerate(panels):
        panel.layout = reports.Layout(x=number * width % 24, y=number * width // 24 * 6, w=width, h=6)
    return list(panels)


def _library() -> tuple[Any, Any]:
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports import v2
    except ImportError as error:
        raise ConfigError("rga dashboard needs wandb-workspaces: pip install 'rga[dashboard]'") from error
    return v2, workspaces
