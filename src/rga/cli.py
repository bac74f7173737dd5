"""The command `rga`. What a command needs is imported when it runs: help and tables come without torch."""

import functools
import importlib
import inspect
import json
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
data = typer.Typer(help="Check a data set on disk, draw demo data, cut a holdout set.", no_args_is_help=True)
app.add_typer(data, name="data")

# Everything after the command's name goes to another parser, --help included.
_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}


class Format(StrEnum):
    text = "text"
    md = "md"
    latex = "latex"
    csv = "csv"
    json = "json"


class Report(StrEnum):
    text = "text"
    json = "json"


class Feature(StrEnum):
    before_bn = "before_bn"
    after_bn = "after_bn"


class Bench(StrEnum):
    attention = "attention"
    blocks = "blocks"
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
    number: Annotated[str, typer.Argument(help="Which table of the paper; attention: what each block costs.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides for every row: scale=demo seed=0,1,2 backbone=... hydra/launcher=..."),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Make the runs that are missing first.")] = False,
    format: Annotated[Format, typer.Option("--format", help="How to print the table.")] = Format.text,
    commands: Annotated[
        bool, typer.Option("--commands", help="List the commands that fill the empty cells (stderr, but for text).")
    ] = False,
    device: Annotated[str | None, typer.Option(help="attention: cpu, cuda, cuda:1, ... [cpu]")] = None,
    batch: Annotated[int | None, typer.Option(help="attention: images at once [2, on a GPU 64]", min=1)] = None,
    rounds: Annotated[int | None, typer.Option(help="attention: how often everything is timed [5]", min=1)] = None,
) -> None:
    """Print a table of the paper with the results there are.

    Without a seed, all seeds that were run count, and an empty cell asks for the config's own seed; seed=0,1,2 asks
    for, and counts, just these.

    rga table attention measures what every block of conf/attention costs, beside the results there are;
    attention=none,se,rga_sc chooses among the blocks.
    """
    from rga.tables import fill, load
    from rga.tables.filled import is_hydra
    from rga.tables.render import render

    asked = overrides or []
    options: dict[str, Any] = {"device": device, "batch": batch, "rounds": rounds}
    measuring = {name: value for name, value in options.items() if value is not None}
    if number == "attention":
        from rga.tables.zoo import zoo

        spec, asked = zoo(asked)
    elif measuring:
        raise typer.BadParameter(f"only rga table attention measures and takes --{', --'.join(measuring)}")
    else:
        spec = load(number)
    failures: list[str] = []
    with _plain_warnings():
        filled = fill(spec, asked)
        if run:
            from rga.tables.run import run_missing

            failures = run_missing(filled, [line for line in asked if is_hydra(line)], _task(list(sys.argv)))
            filled = fill(spec, [line for line in asked if line != "rerun=true"])
        if number == "attention":
            from rga.bench.zoo import cost_table

            typer.echo(cost_table(filled, format.value, **measuring))
        else:
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


@app.command()
def report() -> None:
    """Write RESULTS.md, its pictures and the README's main rows from the recorded runs."""
    from rga.paths import EXPERIMENTS
    from rga.tables.report import report

    with _plain_warnings():
        typer.echo("\n".join(map(str, report(EXPERIMENTS.parent))))


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


@data.command("holdout")
def data_holdout(
    name: Annotated[str, typer.Argument(help="A data set in Market-1501's layout: market1501, dukemtmc.")],
    root: Annotated[Path, typer.Argument(help="The folder of the data set.")],
    out: Annotated[Path, typer.Argument(help="Where the new set goes, such as data/market1501-holdout.")],
) -> None:
    """Cut the training part of a data set into people to train and people to test on, in the same layout.

    Every third identity is tested on: its first picture in a camera asks, the others answer.
    """
    from rga.data import holdout

    parts = holdout.write(name, root, out)
    typer.echo("\n".join(f"{part:20}{len(pictures):>8,} pictures" for part, pictures in parts.items()))
    typer.echo(f"a holdout set of {name} lies in {out}")


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


_What = Annotated[
    Path, typer.Argument(help="A finished run's folder, runs/FINGERPRINT/SEED, a last.ckpt, or a file of the authors'.")
]
_Overrides = Annotated[
    list[str] | None, typer.Argument(help="Hydra overrides: data=NAME data.root=FOLDER scale=demo trainer.X=Y ...")
]
_Flip = Annotated[bool, typer.Option("--flip", help="Re-ID: average the features of a picture and its mirror image.")]
_Feature = Annotated[Feature | None, typer.Option("--feature", help="Re-ID: the feature before or after BN.")]


def _options(overrides: list[str] | None, **options: Any) -> list[str]:
    """Options of the re-ID task, where they are given, as overrides."""
    return [*(overrides or []), *(f"++task.{name}={value}" for name, value in options.items() if value)]


@app.command("test")
def evaluate(
    what: _What,
    overrides: _Overrides = None,
    flip: _Flip = False,
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-ID: k-reciprocal re-ranking.")] = False,
    feature: _Feature = None,
    format: Annotated[Report, typer.Option("--format", help="How to print the result.")] = Report.text,
) -> None:
    """Test trained weights on their own data, or with data=NAME on others.

    For a file that lies outside of its run, overrides say which network it is of; of the authors' checkpoints that is
    by default attention=rga_sc behind resnet50.
    """
    from rga.evaluate import evaluate, text
    from rga.trained import load

    with _plain_warnings():
        report = evaluate(load(what, _options(overrides, flip=flip, rerank=rerank, feature=feature)))
    typer.echo(json.dumps(report, indent=1) if format == Report.json else text(report))


@app.command()
def extract(
    what: _What,
    folder: Annotated[Path, typer.Argument(help="Pictures, also in folders below it.")],
    out: Annotated[Path, typer.Argument(help="Where features.safetensors and names.json go.")],
    overrides: _Overrides = None,
    flip: _Flip = False,
    feature: _Feature = None,
    skip_unreadable: Annotated[bool, typer.Option(help="Leave out pictures that do not decode.")] = False,
) -> None:
    """Write the features that a re-ID network gives of a folder's pictures; started again, it goes on."""
    from rga.extract import extract
    from rga.features import Extractor
    from rga.tasks import ReID
    from rga.trained import load

    trained = load(what, _options(overrides, flip=flip, feature=feature), ReID)
    count, channels = extract(Extractor(trained), folder, out, skip_unreadable).features.shape
    typer.echo(f"features of {count:,} pictures, {channels} numbers each, in {out}")


@app.command()
def search(
    what: _What,
    gallery: Annotated[Path, typer.Argument(help="A folder of pictures, or what rga extract wrote.")],
    query: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.")],
    overrides: _Overrides = None,
    top: Annotated[int, typer.Option(help="Matches of each query.", min=1)] = 10,
    out: Annotated[Path, typer.Option(help="Picture of the first queries' matches.")] = Path("ranks.png"),
    flip: _Flip = False,
    feature: _Feature = None,
) -> None:
    """Find the pictures of a gallery that are most like a query, by the features of a re-ID network.

    Frames are green for the same identity, red for another one, grey where names do not tell (0002_c1s1_....jpg does).
    """
    from rga.features import Extractor
    from rga.search import draw, kind, search
    from rga.tasks import ReID
    from rga.trained import load

    kind(out)
    extractor = Extractor(load(what, _options(overrides, flip=flip, feature=feature), ReID))
    rankings = search(extractor, gallery, query, top)
    typer.echo("\n\n".join(map(str, rankings)))
    typer.echo(f"drawn in {draw(rankings, extractor.size, out)}", err=True)


@app.command(context_settings=_PASS_ON)
def bench(context: typer.Context, name: Annotated[Bench, typer.Argument(help="What to measure.")]) -> None:
    """Measure speed and memory on this machine (rga bench NAME --help)."""
    measure = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    measure.command()(importlib.import_module(f"rga.bench.{name.value}").main)
    measure(args=context.args, prog_name=f"rga bench {name.value}")
