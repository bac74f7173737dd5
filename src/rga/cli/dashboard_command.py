"""`rga dashboard`: views of tables in wandb."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rga.cli import plain_warnings, say


def dashboard(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[N ...] [OVERRIDES]", help="Tables, and overrides as for rga table; none: tables 1-7."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the specification as JSON, send nothing.")] = False,
    project: Annotated[str, typer.Option(help="Of wandb, as logger.wandb.project.")] = "rga",
    entity: Annotated[str | None, typer.Option(help="Of wandb, whose project it is [your default]")] = None,
    out: Annotated[Path, typer.Option(help="Where the specification goes without an account.")] = Path(
        "dashboard.json"
    ),
) -> None:
    """Make, or renew, a wandb workspace and a report of each table: bars by row, learning curves, cost, gates.

    Without an account of wandb the specification is written as JSON.
    """
    from rga.files import write_atomically
    from rga.runs.compose import compose
    from rga.tables import available, fill, load
    from rga.tables.dashboard import send, specification
    from rga.training.loggers import has_account

    asked = what or []
    overrides = [word for word in asked if "=" in word]
    names = [word for word in asked if "=" not in word] or [name for name in available() if name.isdigit()]
    with plain_warnings():
        tables = [fill(load(name), overrides) for name in names]
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
    runs = Path(compose([])["paths"]["runs"])
    for table in tables:
        say("\n".join(send(table, entity, project, runs)))
