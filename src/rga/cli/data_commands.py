"""`rga data`: check a data set on disk, write demo data, cut a holdout set."""

import inspect
import re
from pathlib import Path
from typing import Annotated

import typer

from rga.cli import say

app = typer.Typer(help="Check a data set on disk, write demo data, cut a holdout set.", no_args_is_help=True)


_OPTION = re.compile(r"([a-z_]+)=([^/]*)")  # of the drawing; with a `/` it is a path that has a `=` in it


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="A choice of conf/data, such as market1501.")],
    root: Annotated[Path, typer.Argument(help="The folder of the data set, or the table that lists it.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OPTION=VALUE ...]", help="Of its reader: table=FILE with the images in ROOT."),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="Also name images to test on that look like images to train on.")
    ] = False,
) -> None:
    """Count a data set's images and classes or identities against the published ones, and read every image."""
    from rga.data import audit

    try:
        report = audit.check(name, root, images=images, **dict(word.split("=", 1) for word in words or []))
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(
            f"{' '.join(words or [])}: {error}; expected OPTION=VALUE, such as table=FILE"
        ) from error
    say(str(report))
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
    """Write a small synthetic data set in the official layout of a real one."""
    from rga.data.registry import demo_writer

    words = [word for word in what if not _OPTION.fullmatch(word)]
    if len(words) not in (1, 2):
        raise typer.BadParameter(f"expected [NAME] ROOT, got {len(words)} words")
    name, root = words if len(words) == 2 else ("market1501", words[0])
    write = demo_writer(name)
    try:
        options = {found[1]: int(found[2]) for word in what if (found := _OPTION.fullmatch(word))}
        inspect.signature(write).bind(root, **options)
    except (TypeError, ValueError) as error:
        takes = [key for key, value in inspect.signature(write).parameters.items() if value.kind == value.KEYWORD_ONLY]
        raise typer.BadParameter(f"{error}; {name} takes whole numbers for {', '.join(takes)}") from error
    try:
        write(Path(root), **{"seed": seed, **options})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    say(f"synthetic {name} written in {root}")


@app.command("holdout")
def holdout(
    name: Annotated[str, typer.Argument(help="A data set in Market-1501's layout: market1501, dukemtmc.")],
    root: Annotated[Path, typer.Argument(help="The folder of the data set.")],
    out: Annotated[Path, typer.Argument(help="Where the new set goes, such as data/market1501-holdout.")],
) -> None:
    """Cut the training split of a data set into people to train and people to test on, in the same layout.

    Every third identity is tested on: its first image in a camera asks, the others answer.
    """
    from rga.data.reid import holdout

    parts = holdout.write(name, root, out)
    say("\n".join(f"{part:20}{len(images):>8,} images" for part, images in parts.items()))
    say(f"a holdout set of {name} lies in {out}")
