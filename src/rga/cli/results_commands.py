"""What is made of finished runs: `rga record`, `rga report` and `rga dashboard`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rga.cli import plain_warnings, say


def record(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[N ...] [OVERRIDES]", help="Tables, and overrides as for rga table; none: all tables."),
    ] = None,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Rename what is recorded, and the runs, that have names of older rules.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Where a run is recorded with other metrics, take the one in paths.runs.")
    ] = False,
) -> None:
    """Record finished runs of tables in the repository: experiments/results/. Of another machine: paths.runs=FOLDER."""
    from rga.tables.migrate import migrate as rename
    from rga.tables.recording import record

    with plain_warnings():
        lines, conflicts = (rename(), []) if migrate else record(what or [], replace)
        say("\n".join(lines))
    for conflict in conflicts:
        say(f"rga: {conflict}", err=True)
    if conflicts:
        raise typer.Exit(1)


def report(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[N ...] [OVERRIDES]", help="Of --html: tables, and overrides; none: all there is."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write one page to open in a browser instead, local runs included.")
    ] = None,
    figure3: Annotated[
        Path | None, typer.Option("--figure3", help="Of --html: an image that rga figure 3 --out has written.")
    ] = None,
) -> None:
    """Write RESULTS.md, its images and the README's table from the recorded runs.

    rga report --html report.html 1 zoo scale=demo
    """
    if html is not None:
        from rga.bench.flops_of_rows import flops_of_rows
        from rga.tables.html_page import tables_of, write_page

        with plain_warnings():
            tables = tables_of(what or [])
            say(str(write_page(html, tables, flops_of_rows(tables), figure3)))
        return
    if what or figure3:
        raise typer.BadParameter("RESULTS.md shows all that is recorded; tables, overrides and --figure3 are of --html")
    from rga.paths import EXPERIMENTS
    from rga.tables.pages import report

    with plain_warnings():
        say("\n".join(map(str, report(EXPERIMENTS.parent))))


def dashboard(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[N ...] [OVERRIDES]", help="Tables, and overrides as for rga table; none: tables 1-7."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the specification as JSON, send nothing.")] = False,
    project: Annotated[str, typer.Option(envvar="WANDB_PROJECT", help="Of wandb, as logger.wandb.project.")] = "rga",
    entity: Annotated[str | None, typer.Option(help="Of wandb, whose project it is [your default]")] = None,
    out: Annotated[Path, typer.Option(help="Where the specification goes without an account.")] = Path(
        "dashboard.json"
    ),
) -> None:
    """Make, or renew, a wandb workspace and a report of each table: bars by row, learning curves, cost, gates.

    Without an account of wandb the specification is written as JSON.
    """
    from rga.files import write_atomically
    from rga.runs.compose import runs_folder
    from rga.tables import available, fill, load
    from rga.tables.dashboard import send, specification
    from rga.tables.spec import tables_and_overrides
    from rga.wandb_account import has_account

    names, overrides = tables_and_overrides(what or [])
    with plain_warnings():
        tables = [fill(load(name), overrides) for name in names or filter(str.isdigit, available())]
    if dry_run or not has_account():
        text = json.dumps([specification(table, entity or "ENTITY", project) for table in tables], indent=2)
        if dry_run:
            say(text)
            return
        write_atomically(out, f"{text}\n")
        say(f"there is no account of wandb here: the specification is in {out}. After `wandb login`, or with")
        say("WANDB_API_KEY set, the same command sends it; `wandb sync` sends the offline runs that it shows")
        return
    if entity is None:
        import wandb

        entity = str(wandb.Api().default_entity)
    for table in tables:
        say("\n".join(send(table, entity, project, runs_folder(overrides))))
