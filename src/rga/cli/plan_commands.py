"""A whole reproduction: `rga plan`, `rga work`, `rga status` and, on a new machine, `rga measure`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rga.cli import plain_warnings, say

if TYPE_CHECKING:
    from rga.tables.run_plan import Plan


class Busy(StrEnum):
    wait = "wait"
    skip = "skip"
    fail = "fail"


class Form(StrEnum):
    text = "text"
    json = "json"


def plan(
    words: Annotated[
        list[str],
        typer.Argument(metavar="N ... [OVERRIDES]", help="Tables, and overrides as for rga table: seed=0,1,2"),
    ],
    out: Annotated[Path, typer.Option(help="The file of the plan.")] = Path("plan.jsonl"),
) -> None:
    """List the runs behind tables, each once, baselines first, with the hours that are known.

    rga plan 1 2 3 4 5 6 7 seed=0,1,2
    """
    from rga.tables.run_plan import make_plan, write_plan
    from rga.tables.spec import tables_and_overrides

    tables, overrides = tables_and_overrides(words)
    if not tables:
        raise typer.BadParameter("of which tables? such as rga plan 1 7")
    with plain_warnings():
        made = make_plan(tables, overrides)
        write_plan(made, out)
        say("\n".join([*made.summary(_finished(made)), f"written to {out}: rga work {out} makes them"]))


def work(
    file: Annotated[Path, typer.Argument(help="A plan, of rga plan.")],
    jobs: Annotated[
        int | None,
        typer.Option(help="How many runs at a time [one on each GPU; on a CPU one, of scale=demo several]", min=1),
    ] = None,
    busy: Annotated[Busy, typer.Option(help="What to do about runs that another worker is making.")] = Busy.wait,
) -> None:
    """Make the runs of a plan that nobody else is making; start as many workers as there is room for.

    Workers on any nodes that share the folder of runs share a plan. One that is ended loses nothing: its runs are
    resumed by whichever worker comes to them.
    """
    from rga.tables.run_plan import read_plan
    from rga.training import worker

    with plain_warnings():
        made = read_plan(file)
        failed = worker.work(made, file, jobs=jobs, busy=worker.Busy(busy.value))
        say("\n".join(made.summary(_finished(made))))
    if failed:
        say("\n".join([f"{len(failed)} failed; the same command tries them again:", *failed]), err=True)
        raise typer.Exit(1)


def measure(
    overrides: Annotated[list[str] | None, typer.Argument(help="paths.data=FOLDER, where the data sets are.")] = None,
    minutes: Annotated[float, typer.Option(help="How long; what is begun is saved.", min=0.1)] = 30.0,
    out: Annotated[Path, typer.Option(help="The folder of the record; named again, the session resumes.")] = Path(
        "measured"
    ),
) -> None:
    """Measure what this machine's GPU does, as far as the minutes go: checks, benches, then trainings.

    Trainings are Table 7 with the paper's recipe, then Table 1 on the Market-1501 holdout. Without a GPU it is a try of
    the command with small batches and demo runs.
    """
    from rich.console import Console
    from rich.table import Table

    from rga.measure.session import LINES, RUNS
    from rga.measure.session import measure as measure_all

    with plain_warnings():
        rows = measure_all(minutes, out, overrides or [], lambda line: say(line, err=True))
    table = Table("", "", "s")
    for row in rows:
        table.add_row(row.name, row.text, "" if row.seconds is None else f"{row.seconds:.0f}")
    Console().print(table)
    say(f"recorded in {out / LINES}, the runs in {out / RUNS} (docs/benchmarks.md: how they are kept)")
    if failed := [row.name for row in rows if row.failed]:
        say(f"{len(failed)} failed: {', '.join(failed)}; the same command tries them again", err=True)
        raise typer.Exit(1)


def status(
    file: Annotated[Path | None, typer.Argument(help="A plan; without one, all runs there are.")] = None,
    runs: Annotated[
        Path | None,
        typer.Option(help="The folder of runs [that of the config, paths.runs]", exists=True, file_okay=False),
    ] = None,
    format: Annotated[Form, typer.Option("--format", help="How to print it.")] = Form.text,
) -> None:
    """Show what every run is doing: finished, running, interrupted, failed, stale or not begun."""
    from rga.runs.compose import runs_folder
    from rga.tables.run_plan import read_plan
    from rga.tables.run_status import as_json, as_text, statuses

    with plain_warnings():
        made = read_plan(file) if file is not None else None
        found = statuses(runs or runs_folder(made.overrides if made else ()), made)
        say(as_json(found) if format is Form.json else as_text(found))


def _finished(made: "Plan") -> list[str]:
    from rga.runs.compose import runs_folder
    from rga.tables.run_status import statuses

    return [run.run for run in statuses(runs_folder(made.overrides), made) if run.state == "finished"]
