"""The command `rga`. What a command needs is imported when it runs: help and tables come without torch."""

import importlib
import io
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rga.cli import plan_commands, results_commands, say, table_commands, train_command, weights_commands
from rga.cli.data_commands import app as data
from rga.cli.problems import debugging, print_message, take_debug


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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a sign is no reason to end
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        if debugging():
            raise
        print_message(error)
        sys.exit(1)


app.command(context_settings={**_PASS_ON, "help_option_names": []})(train_command.train)
app.command()(table_commands.table)
app.command()(table_commands.repeat)
app.command()(table_commands.cost)
app.command()(table_commands.figure)
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
