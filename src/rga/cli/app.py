"""The command `rga`. What a command needs is imported when it runs: help and tables come without torch."""

import argparse
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from rga.cli import plain_warnings, plan_commands, results_commands, say, weights_commands
from rga.cli.data_commands import app as data
from rga.cli.problems import debugging, message_of, print_message, take_debug

if TYPE_CHECKING:
    from rga.tables import FilledTable, Table
    from rga.tables.filled import Counted


class Commands(TyperGroup):
    """The commands; Ctrl-C ends each of them with a word and the status that shells expect."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            pass
        except SystemExit as ended:  # Lightning makes this of it
            if not isinstance(ended.__context__, KeyboardInterrupt):
                raise
        say("rga: interrupted; the same command resumes from what was saved", err=True)
        raise SystemExit(_INTERRUPTED)


app = typer.Typer(
    cls=Commands,
    help="Relation-Aware Global Attention: the paper's tables from one command.",
    epilog="With --debug every command shows the traceback of an error.",
    rich_markup_mode=None,  # importing rich would take as long as all the rest of the help
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_INTERRUPTED = 130

# Everything after the command's name goes to another parser, --help included.
_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}


class Format(StrEnum):
    text = "text"
    md = "md"
    latex = "latex"
    csv = "csv"
    json = "json"


class Log(StrEnum):
    wandb = "wandb"


class Bench(StrEnum):
    """What can be measured; the values of `_BENCHES` are the modules of `rga.bench` that do."""

    attention = "attention"
    blocks = "blocks"
    step = "step"
    operations = "operations"
    ranking = "ranking"
    data = "data"


_BENCHES = {
    Bench.attention: "rga_blocks",
    Bench.blocks: "zoo_blocks",
    Bench.step: "training_step",
    Bench.operations: "operations",
    Bench.ranking: "ranking_size",
    Bench.data: "batches",
}


def main() -> None:
    """Run the command; an error is one message, with --debug (or RGA_DEBUG=1) a traceback."""
    sys.argv = take_debug(sys.argv)
    try:
        app()
    except Exception as error:
        if debugging():
            raise
        print_message(error)
        sys.exit(1)


@app.command(context_settings={**_PASS_ON, "help_option_names": []})
def train(context: typer.Context) -> None:
    """Train and test one run, or with -m a sweep: a plain Hydra application (rga train --help).

    rga train attention=rga_sc scale=demo

    rga train -m attention=none,rga_s,rga_c,rga_sc scale=demo

    rga train attention=rga_sc scale=small --explain    # trains nothing: what is set, and which layer says so
    """
    if "--explain" in context.args:
        say("\n".join(_explain([word for word in context.args if word != "--explain"])))
        return
    from rga.training.signals import not_begun, stopping

    with stopping(not_begun):
        import hydra

        from rga.paths import CONF
        from rga.runs.paths_in_overrides import quoted

        # hydra/launcher=ray, which is ours, is checked by the schema of Ray's launcher, as it should be.
        warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/ray' is validated against ConfigStore schema")
        application = hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")(_task(list(sys.argv)))
        sweep = not {"-m", "--multirun"}.isdisjoint(context.args)
        with _argv(["rga train", *quoted(context.args, sweep=sweep)]), _errors_as_they_are():
            application()


@contextmanager
def _errors_as_they_are() -> Iterator[None]:
    """Let Hydra raise what a run raises: it would print a traceback without its own part and end the process."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def _explain(words: list[str]) -> list[str]:
    from rga.runs.settings import explain

    options = argparse.ArgumentParser(prog="rga train --explain", add_help=False)
    options.add_argument("--config-dir", "-cd")
    known, overrides = options.parse_known_args(words)
    if others := [word for word in overrides if word.startswith("-")]:
        raise typer.BadParameter(
            f"--explain is of one run and takes overrides and --config-dir, not {' '.join(others)}"
        )
    return explain(overrides, config_dir=known.config_dir)


def _task(argv: list[str]) -> Any:
    """`rga.training.loop.run` under the command line as given, which Lightning repeats to start further processes."""
    from rga.training import loop

    @functools.wraps(loop.run)
    def task(config: Any) -> Any:
        from hydra.core.hydra_config import HydraConfig
        from hydra.errors import CompactHydraException
        from hydra.types import RunMode

        from rga.runs.repeated import expect_set_at_source

        try:
            given = HydraConfig.get()
            own = [source.path for source in given.runtime.config_sources if source.provider == "command-line"]
            expect_set_at_source(given.overrides.task, config_dir=own[0] if own else None)
            with _argv(argv):
                return loop.run(config)
        except Exception as error:
            text = message_of(error)
            if text is None or debugging():
                raise
            if HydraConfig.get().mode == RunMode.RUN:  # Hydra would say before it which overrides failed
                print_message(error)
                raise SystemExit(1) from error
            raise CompactHydraException(f"rga: {text}") from error  # of one job of a sweep

    return task


@contextmanager
def _argv(argv: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, argv
    try:
        yield
    finally:
        sys.argv = before


@app.command()
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
    from rga.tables.paired import compare, expect_row
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
            filled = replace(filled, against=compare(filled, against))
        say(render(filled, format.value))
    if commands:
        _say_commands(filled, format)
    if log is not None:
        _log(filled)
    _exit_with(failures)


def _log(filled: "FilledTable") -> None:
    from rga.runs.compose import compose, runs_folder
    from rga.tables.log_table import log_table

    given = compose(["logger=wandb"])["logger"]["wandb"]
    say(log_table(filled, given["project"], given["entity"], runs_folder(filled.overrides) / "tables"), err=True)


@app.command()
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
    from rga.tables import fill
    from rga.tables.filled import is_hydra

    filled = fill(spec, asked, counted=counted)
    if any(line.startswith(("data.root=", "data.table=", "backbone.weights=")) for line in asked):
        _compare_with_named(filled)
    if not run:
        return filled, []
    from rga.tables.missing import run_missing

    failures = run_missing(filled, [line for line in asked if is_hydra(line)], _task(list(sys.argv)))
    return fill(spec, [line for line in asked if line != "rerun=true"], counted=counted), failures


def _compare_with_named(filled: "FilledTable") -> None:
    """See that the runs made here are of the data and the weights that the command line names."""
    from rga.runs import Run
    from rga.runs.compose import compose
    from rga.training.loop import compare_reused

    for entry in filled.entries:
        for result in entry.results:
            if "recorded" not in result:
                config = compose((*entry.overrides, f"seed={result['seed']}"))
                compare_reused(Run(config["paths"]["runs"], config))


def _exit_with(failures: list[str]) -> None:
    if failures:
        say("\n".join(["", f"{len(failures)} runs failed:", *(f"  {failure}" for failure in failures)]), err=True)
        raise typer.Exit(1)


@app.command()
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
        say("\n".join([*said, f"drawn in {out}"]))


app.command()(results_commands.record)
app.command()(results_commands.report)
app.command()(results_commands.dashboard)
app.add_typer(data, name="data")
app.command()(weights_commands.backbone)
app.command("test")(weights_commands.evaluate)
app.command()(weights_commands.export)
app.command()(weights_commands.extract)
app.command()(weights_commands.search)
app.command()(weights_commands.predict)
app.command()(plan_commands.plan)
app.command()(plan_commands.work)
app.command()(plan_commands.status)
app.command()(plan_commands.measure)


@app.command(context_settings=_PASS_ON)
def bench(context: typer.Context, name: Annotated[Bench, typer.Argument(help="What to measure.")]) -> None:
    """Measure speed and memory on this machine (rga bench NAME --help)."""
    measure = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    measure.command()(importlib.import_module(f"rga.bench.{_BENCHES[name]}").main)
    measure(args=context.args, prog_name=f"rga bench {name.value}")
