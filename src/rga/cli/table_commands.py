"""The paper's tables and figure, and the costs of the zoo: `rga table`, `rga repeat`, `rga cost`, `rga figure`."""

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rga.cli import plain_warnings, say
from rga.cli.train_command import task

if TYPE_CHECKING:
    from rga.tables import FilledTable, Table
    from rga.tables.filling import Counted


class Format(StrEnum):
    text = "text"
    md = "md"
    latex = "latex"
    csv = "csv"
    json = "json"


class Log(StrEnum):
    wandb = "wandb"


def table(
    name: Annotated[
        str | None,
        typer.Argument(help="1 to 7: the paper's; a name: one of our own."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides for every row: scale=demo seed=0,1,2 backbone=... hydra/launcher=..."),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Make the runs that are missing first.")] = False,
    format: Annotated[Format, typer.Option("--format", help="How to print the table.")] = Format.text,
    commands: Annotated[
        bool, typer.Option("--commands", help="List the commands that fill the empty cells (stderr, but for text).")
    ] = False,
    against: Annotated[
        str | None, typer.Option("--against", metavar="ROW", help="Also print each row's difference to this one.")
    ] = None,
    log: Annotated[Log | None, typer.Option("--log", help="Also log the table there: a run `table-N`.")] = None,
) -> None:
    """Print a table with the results there are: one of the paper's, or of our own. Without a name, list them all.

    Without a seed, all seeds that were run count, and an empty cell asks for the config's own seed; seed=0,1,2 asks
    for, and counts, just these.
    """
    from rga.tables import load
    from rga.tables.against import expect_row
    from rga.tables.render import render

    asked = overrides or []
    if name is None or "=" in name:
        if name or run or commands or against or log or format != Format.text:
            raise typer.BadParameter("of which table? rga table alone lists them")
        from rga.tables.overview import list_tables

        with plain_warnings():
            say(list_tables())
        return
    with plain_warnings():
        spec = load(name)
        if against is not None:
            expect_row(spec, against)
        filled, failures = _filled(spec, asked, run)
        if against is not None:
            from rga.tables.paired import compare  # late: scipy's import takes longer than a table

            filled = replace(filled, against=compare(filled, against))
        say(render(filled, format.value))
    if commands:
        _say_commands(filled, format)
    if log is not None:
        _log(filled, asked)
    _exit_with(failures)


def _log(filled: "FilledTable", overrides: list[str]) -> None:
    from rga.runs.compose import compose, runs_folder
    from rga.tables.log_table import log_table

    own = [override for override in overrides if override.startswith("logger.wandb.")]
    given = compose(["logger=wandb", *own])["logger"]["wandb"]
    say(log_table(filled, given["project"], given["entity"], runs_folder(filled.overrides) / "tables"), err=True)


def repeat(
    run: Annotated[str, typer.Argument(metavar="FINGERPRINT/SEED", help="A recorded run, as RESULTS.md names it.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Where data and weights are, how to run: paths.data=... backbone.weights=... trainer=..."),
    ] = None,
) -> None:
    """Make a recorded run again, in repeated/ or paths.runs=FOLDER, and compare all its metrics with the record.

    The exit status is 1 where a metric differs.
    """
    from rga.tables.filling import is_hydra
    from rga.tables.missing import run_jobs
    from rga.tables.repeat import compare, repetition

    asked = overrides or []
    with plain_warnings():
        repeated = repetition(run, [line for line in asked if not is_hydra(line)])
        say(repeated.command, err=True)
        hydra = [line for line in asked if is_hydra(line)]
        _exit_with(run_jobs([(repeated.label, list(repeated.overrides))], hydra, task(list(sys.argv))))
        lines, same = compare(repeated)
    say("\n".join(lines))
    if not same:
        raise typer.Exit(1)


def cost(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides: attention=none,se,rga_sc backbone=... data.size=[128,64] scale=demo"),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Make the runs that are missing first.")] = False,
    format: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.text,
    commands: Annotated[
        bool, typer.Option("--commands", help="List the commands of the runs that are missing (stderr, but for text).")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ... [cpu]")] = None,
    batch: Annotated[int | None, typer.Option(help="Images at once [2, on a GPU 64]", min=1)] = None,
    rounds: Annotated[int | None, typer.Option(help="How often everything is timed [5]", min=1)] = None,
) -> None:
    """Measure what every block of conf/attention costs in a network, beside the accuracy of the runs there are.

    attention=none,se,rga_sc chooses among the blocks; the bare network is always there.
    """
    from rga.bench.cost_table import cost_table
    from rga.tables.zoo import zoo

    options: dict[str, Any] = {"device": device, "batch": batch, "rounds": rounds}
    with plain_warnings():
        filled, failures = _filled(*zoo(overrides or []), run)
        say(cost_table(filled, format.value, **{key: value for key, value in options.items() if value is not None}))
    if commands:
        _say_commands(filled, format)
    _exit_with(failures)


def _say_commands(filled: "FilledTable", format: Format) -> None:
    missing = [entry.command for _, _, entry in filled.missing()]
    say("\n".join(["", *(missing or ["every cell that can be run has its runs"])]), err=format != Format.text)


def _filled(spec: "Table", asked: list[str], run: bool, counted: "Counted" = "all") -> tuple["FilledTable", list[str]]:
    """A table or a figure with its runs, those that were missing made first if asked to; and what failed."""
    from rga.tables.filling import fill, is_hydra

    filled = fill(spec, asked, counted=counted)
    if not run and any(line.startswith("paths.runs=") for line in asked):
        from rga.runs.compose import runs_folder

        if not (runs := runs_folder(line for line in asked if line.startswith("paths.runs="))).exists():
            say(f"rga: paths.runs={runs}: there is no such folder, so only recorded runs are shown", err=True)
    if any(line.startswith(("data.root=", "data.table=", "backbone.weights=")) for line in asked):
        _compare_with_named(filled)
    if not run:
        return filled, []
    from rga.tables.missing import run_missing

    failures = run_missing(filled, [line for line in asked if is_hydra(line)], task(list(sys.argv)))
    return fill(spec, [line for line in asked if line != "rerun=true"], counted=counted), failures


def _compare_with_named(filled: "FilledTable") -> None:
    """See that the runs made here are of the data and the weights that the command line names."""
    from rga.runs import Run
    from rga.runs.compose import compose
    from rga.training.reused import compare_reused

    for entry in filled.entries:
        for result in entry.results:
            if "recorded" not in result:
                config = compose((*entry.overrides, f"seed={result['seed']}"))
                compare_reused(Run(config["paths"]["runs"], config))


def _exit_with(failures: list[str]) -> None:
    if failures:
        say("\n".join(["", f"{len(failures)} runs failed:", *(f"  {failure}" for failure in failures)]), err=True)
        raise typer.Exit(1)


def figure(
    number: Annotated[str, typer.Argument(help="Which figure of the paper: 3.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Hydra overrides for every row: scale=demo data=... seed=1; attention=NAME instead of RGA-SC."
        ),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Make the runs that are missing first.")] = False,
    stage: Annotated[
        int | None, typer.Option(help="Whose attention is shown [the last one of at least 16 x 8 positions]", min=1)
    ] = None,
    channel: Annotated[
        bool, typer.Option("--channel", help="Show the gates of the channels instead of the mask.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option("--images", "--pictures", help="A folder [queries of the data set, one of each person]"),
    ] = None,
    count: Annotated[int, typer.Option(help="How many images, from equally distant places of the list.", min=1)] = 8,
    out: Annotated[Path, typer.Option(help="The file: .png, .pdf or .svg.")] = Path("figure3.png"),
) -> None:
    """Draw Figure 3 from the runs of Table 1: Grad-CAM of the baseline and of RGA-SC, and RGA-SC's attention mask."""
    from rga.inference.figure3 import Shown, check, choose, figure
    from rga.inference.sheet import kind
    from rga.tables import fill, load

    kind(out)
    with plain_warnings():
        table, rest, attention = choose(load(number, kind="figure"), overrides or [])
        shown = Shown(attention, stage, channel)
        check(fill(table, rest, counted="here"), shown)
        filled, failures = _filled(table, rest, run, counted="here")
        _exit_with(failures)
        said = figure(filled, out, shown, images, count)
        say("\n".join([*said, f"written to {out}"]))
