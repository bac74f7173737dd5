"""A filled table as a table of wandb: logged as it is, without any training."""

import shlex
from pathlib import Path
from typing import Any

from rga.tables.dashboard import run_of_table, table_key, title_of
from rga.tables.filled import FilledTable
from rga.wandb_account import mode as wandb_mode

COLUMNS = ("group", "row", "column", "metric", "paper", "ours", "std", "n", "delta", "parameters", "data", "scale")


def log_table(filled: FilledTable, project: str, entity: str | None, folder: Path) -> str:
    """Log a table to its own wandb run, `table-1`; the same run each time, so that the latest one stands.

    A table in another setting, such as scale=demo, has a run of its own.

    Returns:
        Where it is: the run's address, or how to send it.
    """
    import wandb

    name = run_of_table(filled)
    folder.mkdir(parents=True, exist_ok=True)
    mode: Any = wandb_mode()
    run = wandb.init(
        project=project, entity=entity, dir=folder, id=name, name=title_of(filled),
        job_type="table", tags=[filled.table.label, name], resume="allow", mode=mode,
        settings=wandb.Settings(silent=True),
    )  # fmt: skip
    with run:
        run.log({table_key(filled): wandb.Table(columns=list(COLUMNS), data=rows_of(filled))})
        sent = Path(run.dir).parent
    if mode == "disabled":
        return "not logged: wandb is disabled here, by WANDB_MODE or `wandb disabled`"
    return (
        f"logged in {run.url}"
        if mode == "online"
        else f"logged offline: {shlex.join(['wandb', 'sync', str(sent)])} sends it"
    )


def rows_of(filled: FilledTable) -> list[list[Any]]:
    """A row for each cell, numbers in percent, in the order of `COLUMNS`."""
    rows = []
    for line in filled.lines:
        for cell in line.cells:
            result = cell.entry.results[0] if cell.entry and cell.entry.results else {}
            setting = cell.entry.setting if cell.entry and cell.n else None
            where = [line.row.group, line.row.name, cell.column.name, cell.metric]
            numbers = [cell.paper, cell.ours, cell.std, cell.n, cell.delta, result.get("parameters")]
            rows.append([*where, *numbers, setting and setting.data, setting and setting.scale])
    return rows
