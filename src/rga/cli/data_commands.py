"""`rga data`: check a data set on disk, draw demo data, cut a holdout set."""

import inspect
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check a data set on disk, draw demo data, cut a holdout set.", no_args_is_help=True)


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="A choice of conf/data, such as market1501.")],
    root: Annotated[Path, typer.Argument(help="The folder of the data set.")],
) -> None:
    """Count a data set's images and classes or identities against the published ones, and read every picture."""
    from rga.data import audit

    report = audit.check(name, root)
    typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)


@app.command("demo")
def demo(
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


@app.command("holdout")
def holdout(
    name: Annotated[str, typer.Argument(help="A data set in Market-1501's layout: market1501, dukemtmc.")],
    root: Annotated[Path, typer.Argument(help="The folder of the data set.")],
    out: Annotated[Path, typer.Argument(help="Where the new set goes, such as data/market1501-holdout.")],
) -> None:
    """Cut the training part of a data set into people to train and people to test on, in the same layout.

    Every third identity is tested on: its first picture in a camera asks, the others answer.
    """
    from rga.data.reid import holdout

    parts = holdout.write(name, root, out)
    typer.echo("\n".join(f"{part:20}{len(pictures):>8,} pictures" for part, pictures in parts.items()))
    typer.echo(f"a holdout set of {name} lies in {out}")
