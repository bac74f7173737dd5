"""The command `rga`. What a command needs is imported when it runs: help and tables come without torch."""

import functools
import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Relation-Aware Global Attention: the paper's tables from one command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Check a data set on disk, or draw demo data.", no_args_is_help=True)
app.add_typer(data, name="data")

# Everything after the command's name goes to another parser, --help included.
_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}


class Format(StrEnum):
    text = "text"
    md = "md"
    latex = "latex"
    csv = "csv"
    json = "json"


class Bench(StrEnum):
    attention = "attention"
    step = "step"
    ranking = "ranking"
    data = "data"


def main() -> None:
    """Run the command; an error that is the user's to mend is one message (with RGA_DEBUG=1 a traceback)."""
    try:
        app()
    except Exception as error:
        if os.environ.get("RGA_DEBUG") or not _for_the_user(error):
            raise
        print(f"rga: {error}", file=sys.stderr)
        sys.exit(1)


def _for_the_user(error: BaseException) -> bool:
    """The errors that rga itself defines (DataError, ConfigError, ...) have messages for the user."""
    return type(error).__module__.partition(".")[0] == "rga"


@app.command(context_settings={**_PASS_ON, "help_option_names": []})
def train(context: typer.Context) -> None:
    """Train and test one run, or with -m a sweep: a plain Hydra application (rga train --help).

    rga train attention=rga_sc scale=demo

    rga train -m attention=none,rga_s,rga_c,rga_sc scale=demo
    """
    import hydra

    from rga.paths import CONF

    application = hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")(_task(list(sys.argv)))
    with _argv(["rga train", *context.args]):
        application()


def _task(argv: list[str]) -> Any:
    """`rga.train.run` under the command line as it was given, which Lightning repeats to start further processes."""
    from rga import train as trainer

    @functools.wraps(trainer.run)
    def task(config: Any) -> Any:
        from hydra.errors import CompactHydraException

        try:
            with _argv(argv):
                return trainer.run(config)
        except Exception as error:
            if os.environ.get("RGA_DEBUG") or not _for_the_user(error):
                raise
            raise CompactHydraException(f"rga: {error}") from error  # which Hydra prints without a traceback

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
    number: Annotated[str, typer.Argument(help="Which table of the paper.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides for every row: scale=demo seed=0,1,2 backbone=... hydra/launcher=..."),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Make the runs that are missing first.")] = False,
    format: Annotated[Format, typer.Option("--format", help="How to print the table.")] = Format.text,
    commands: Annotated[
        bool, typer.Option("--commands", help="List the commands that fill the empty cells (stderr, but for text).")
    ] = False,
) -> None:
    """Print a table of the paper with the results there are.

    Without a seed, all seeds that were run count, and an empty cell asks for the config's own seed; seed=0,1,2 asks
    for, and counts, just these.
    """
    from rga.tables import fill, load
    from rga.tables.filled import is_hydra
    from rga.tables.render import render

    asked = overrides or []
    spec = load(number)
    failures: list[str] = []
    with _plain_warnings():
        filled = fill(spec, asked)
        if run:
            from rga.tables.run import run_missing

            failures = run_missing(filled, [line for line in asked if is_hydra(line)], _task(list(sys.argv)))
            filled = fill(spec, [line for line in asked if line != "rerun=true"])
        typer.echo(render(filled, format.value))
    if commands:
        missing = [entry.command for _, _, entry in filled.missing()]
        typer.echo(
            "\n".join(["", *(missing or ["every cell that can be run has its runs"])]), err=format != Format.text
        )
    if failures:
        typer.echo(
            "\n".join(["", f"{len(failures)} runs failed:", *(f"  {failure}" for failure in failures)]), err=True
        )
        raise typer.Exit(1)


@app.command()
def record(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[N ...] [OVERRIDES]", help="Tables, and overrides as for rga table; none: all tables."),
    ] = None,
) -> None:
    """Record finished runs of tables in the repository: experiments/results/tableN.jsonl."""
    from rga.tables.record import record

    with _plain_warnings():
        typer.echo("\n".join(record(what or [])))


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Damaged results and the like are for the user: a line each, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"rga: {message}", file=sys.stderr)
        yield


@data.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="A choice of conf/data, such as market1501.")],
    root: Annotated[Path, typer.Argument(help="The folder of the data set.")],
) -> None:
    """Count a data set's images and classes or identities against the published ones, and read every picture."""
    from rga.data import check

    report = check(name, root)
    typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)


@data.command("demo")
def data_demo(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME] ROOT [OPTION=VALUE ...]",
            help="The layout (cifar10, cityscapes, ...), where to, and how much of what: train=500 test=200.",
        ),
    ],
    seed: Annotated[int, typer.Option(help="Which drawing.")] = 0,
) -> None:
    """Draw a small data set in the official layout of a real one."""
    from rga.data.registry import demo_writer

    split = [word.partition("=") for word in what]
    words = [word for word, (key, equals, _) in zip(what, split, strict=True) if not (equals and key.isidentifier())]
    if len(words) not in (1, 2):
        raise typer.BadParameter(f"expected [NAME] ROOT, got {len(words)} words")
    name, root = words if len(words) == 2 else ("market1501", words[0])
    write = demo_writer(name)
    try:
        options = {key: int(value) for key, equals, value in split if equals and key.isidentifier()}
        inspect.signature(write).bind(root, **options)
    except (TypeError, ValueError) as error:
        takes = [key for key, value in inspect.signature(write).parameters.items() if value.kind == value.KEYWORD_ONLY]
        raise typer.BadParameter(f"{error}; {name} takes whole numbers for {', '.join(takes)}") from error
    try:
        write(Path(root), **{"seed": seed, **options})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(f"{name} drawn in {root}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a finished segmentation run, runs/FINGERPRINT/SEED.")],
    images: Annotated[Path, typer.Argument(help="A folder of pictures.")],
    out: Annotated[Path, typer.Argument(help="Where the overlays go.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, ...; auto: a GPU if there is one.")] = "auto",
    strength: Annotated[float, typer.Option(help="Of the colours; 1 hides the picture.", min=0, max=1)] = 0.5,
) -> None:
    """Draw a segmentation run's classes over the pictures of a folder."""
    from rga.predict import predict

    typer.echo(f"{predict(run, images, out, device, strength)} overlays written to {out}")


@app.command(context_settings=_PASS_ON)
def bench(context: typer.Context, name: Annotated[Bench, typer.Argument(help="What to measure.")]) -> None:
    """Measure speed and memory on this machine (rga bench NAME --help)."""
    measure = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    measure.command()(importlib.import_module(f"rga.bench.{name.value}").main)
    measure(args=context.args, prog_name=f"rga bench {name.value}")
