"""`rga dashboard`: a wandb workspace and a report of tables, made by wandb-workspaces from the tables themselves.

The runs are found by what `rga.training.loggers` names them with: the tag of their table, the flat choices of their
config, epochs as the axis. Which views are there already is kept beside the runs, so that a second call renews them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rga.errors import ConfigError
from rga.files import write_atomically
from rga.tables.filled import FilledTable
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
    place = f"{entity}/{project}/{filled.table.label}"
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
    """The table's runs, grouped by row, with a section for each column, and for cost and gates."""
    reports, workspaces = _library()
    from wandb_workspaces import expr

    table = filled.table
    shown = [column for column in filled.columns if column.data is not None]
    first = next(iter(shown[0].metrics.values())) if shown else "rank1"
    columns = ["config:attention.value", "config:data.value", "config:scale.value", "config:seed.value"]
    metrics = dict.fromkeys(f"summary:{key}" for column in shown for key in column.metrics.values())
    sections = [
        workspaces.Section(name=column.name, panels=_panels(reports, filled, column), is_open=True) for column in shown
    ]
    sections.append(workspaces.Section(name="Cost", panels=_cost(reports, first), is_open=True))
    sections.append(workspaces.Section(name="Gates", panels=_gates(reports, filled), is_open=True))
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=_title(filled),
        sections=sections,
        runset_settings=workspaces.RunsetSettings(
            filters=expr.And(expr.Tags().isin([table.label])),
            groupby=[expr.Config("data"), expr.Config("attention") if _by_attention(filled) else expr.Metric("Group")],
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
            runsets=[_runset(reports, filled, "The table", [expr.Tags().isin([table.label])])],
            panels=_laid_out(reports, [reports.WeavePanelSummaryTable(table_name=table_key(filled))]),
        ),
    ]
    for column in filled.columns:
        if column.data is None:
            continue
        of_column = [expr.Tags().isin([table.label]), expr.Config("data") == column.data]
        first = next(iter(column.metrics.values()))
        panels = [*_panels(reports, filled, column), *_cost(reports, first), *_gates(reports, filled)]
        runset = _runset(reports, filled, column.name, of_column)
        grid = reports.PanelGrid(runsets=[runset], panels=_laid_out(reports, panels))
        blocks += [reports.H2(text=column.name), grid]
    return reports.Report(
        entity=entity,
        project=project,
        title=_title(filled).replace("/", " "),  # it is a part of the address
        description=table.source,
        blocks=blocks,
        width="fluid",
    )


def _title(filled: FilledTable) -> str:
    return filled.table.title[:_TITLE]


def table_key(filled: FilledTable) -> str:
    """Under which a table is logged to wandb."""
    return filled.table.stem


def _panels(reports: Any, filled: FilledTable, column: Column) -> list[Any]:
    """Bars of each metric with the spread of the seeds, and the learning curves."""
    by = _by(reports, filled)
    grouped = {"groupby": by, "groupby_aggfunc": "mean"}
    bars = [
        reports.BarPlot(title=f"{column.name} {metric}", metrics=[key], groupby_rangefunc="stddev", **grouped)
        for metric, key in column.metrics.items()
    ]
    watched = {"training loss": "epoch/loss"}
    watched |= {f"{metric} while training": f"val/{key}" for metric, key in column.metrics.items()}
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


def _gates(reports: Any, filled: FilledTable) -> list[Any]:
    """What the gates of all stages do over the epochs."""
    return [
        reports.LinePlot(
            title=f"{kind} gates: {statistic}", x="epoch", metric_regex=f"gates/.*/{kind}/{statistic}",
            groupby=_by(reports, filled), groupby_aggfunc="mean", groupby_rangefunc="minmax",
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


def _runset(reports: Any, filled: FilledTable, name: str, filters: list[Any]) -> Any:
    """Runs of the report's own project; one that is named would have to be there already."""
    from wandb_workspaces import expr

    by = "config.attention" if _by_attention(filled) else "group"
    return reports.Runset(name=name, filters=expr.And(*filters), groupby=[by])


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
