"""What is done with networks and trained weights: `rga backbone`, `test`, `export`, `extract`, `search`, `predict`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rga.cli import plain_warnings, say


class Report(StrEnum):
    text = "text"
    json = "json"


class Feature(StrEnum):
    before_bn = "before_bn"
    after_bn = "after_bn"


_What = Annotated[
    Path, typer.Argument(help="A finished run's folder, runs/FINGERPRINT/SEED, a last.ckpt, or a file of the authors'.")
]
_Overrides = Annotated[
    list[str] | None, typer.Argument(help="Hydra overrides: data=NAME data.root=FOLDER scale=demo trainer.X=Y ...")
]
_ConfigDir = Annotated[
    Path | None, typer.Option("--config-dir", help="A folder of your own configs, whose components may be built.")
]
_Flip = Annotated[bool, typer.Option("--flip", help="Re-ID: average the features of an image and its mirror image.")]
_Feature = Annotated[Feature | None, typer.Option("--feature", help="Re-ID: the feature before or after BN.")]


def _options(overrides: list[str] | None, **options: Any) -> list[str]:
    """Options of the re-ID task, where they are given, as overrides."""
    return [*(overrides or []), *(f"++task.{name}={value}" for name, value in options.items() if value)]


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a finished segmentation run, runs/FINGERPRINT/SEED.")],
    images: Annotated[Path, typer.Argument(help="Images, also in folders below it: leftImg8bit/test, for one.")],
    out: Annotated[Path, typer.Argument(help="Where the overlays or label ids go.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, ...; auto: a GPU if there is one.")] = "auto",
    strength: Annotated[float, typer.Option(help="Of the colours; 1 hides the image.", min=0, max=1)] = 0.5,
    ids: Annotated[
        bool, typer.Option("--ids", help="Label ids as the data set's own files have them, for a benchmark's server.")
    ] = False,
    config_dir: _ConfigDir = None,
) -> None:
    """Draw a segmentation run's classes over the images of a folder, or write their label ids."""
    from rga.inference.prediction import predict

    count = predict(run, images, out, device, strength, ids=ids, config_dir=config_dir)
    say(f"{count} {'images of label ids' if ids else 'overlays'} written to {out}")


def backbone(
    name: Annotated[str, typer.Argument(help="A network of timm, such as efficientnet_b0.")],
    size: Annotated[
        list[int] | None, typer.Argument(metavar="[HEIGHT WIDTH]", help="Of the images [those it was made for].", min=1)
    ] = None,
) -> None:
    """List the stages of a network of timm: modules, channels, sizes, and what RGA-SC would cost behind each."""
    from rga.bench.backbone_stages import look, text

    if size is not None and len(size) != 2:
        raise typer.BadParameter(f"expected HEIGHT WIDTH, such as 256 128, got {' '.join(map(str, size))}")
    say(text(look(name, size)))


def evaluate(
    what: _What,
    overrides: _Overrides = None,
    flip: _Flip = False,
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-ID: k-reciprocal re-ranking.")] = False,
    feature: _Feature = None,
    config_dir: _ConfigDir = None,
    format: Annotated[Report, typer.Option("--format", help="How to print the result.")] = Report.text,
) -> None:
    """Test trained weights on their own data, or with data=NAME on others.

    For a file that lies outside of its run, overrides say which network it is of; of the authors' checkpoints that is
    by default attention=rga_sc behind resnet50.
    """
    from rga.inference.evaluation import evaluate, text
    from rga.inference.trained import load

    with plain_warnings():
        options = _options(overrides, flip=flip, rerank=rerank, feature=feature)
        report = evaluate(load(what, options, config_dir=config_dir))
    say(json.dumps(report, indent=1) if format == Report.json else text(report))


def export(
    what: _What,
    out: Annotated[Path, typer.Argument(help="The folder that is written; it must not be there.")],
    overrides: _Overrides = None,
    flip: _Flip = False,
    feature: _Feature = None,
    licence: Annotated[str | None, typer.Option(help="Of the data, for the card.")] = None,
    config_dir: _ConfigDir = None,
) -> None:
    """Write a trained network as safetensors, torch.export and ONNX, each compared with the run, and its card."""
    from rga.inference.export import export
    from rga.inference.trained import load

    with plain_warnings():
        written = export(
            load(what, _options(overrides, flip=flip, feature=feature), config_dir=config_dir), out, licence
        )
    say("\n".join(written))


def extract(
    what: _What,
    folder: Annotated[Path, typer.Argument(help="Images, also in folders below it.")],
    out: Annotated[Path, typer.Argument(help="Where features.safetensors and names.json go.")],
    overrides: _Overrides = None,
    flip: _Flip = False,
    feature: _Feature = None,
    config_dir: _ConfigDir = None,
    skip_unreadable: Annotated[bool, typer.Option(help="Leave out images that do not decode.")] = False,
) -> None:
    """Write the features that a re-ID network gives of a folder's images; started again, it resumes."""
    from rga.inference.extraction import extract
    from rga.inference.features import Extractor
    from rga.inference.trained import load
    from rga.tasks import ReID

    trained = load(what, _options(overrides, flip=flip, feature=feature), ReID, config_dir)
    found = extract(Extractor(trained), folder, out, skip_unreadable)
    count, channels = found.features.shape
    if found.skipped:
        from rga.data.base import shorten

        say(f"{len(found.skipped):,} images that do not decode are left out: {shorten(found.skipped, 20)}", err=True)
    say(f"features of {count:,} images, {channels} numbers each, in {out}")


def search(
    what: _What,
    gallery: Annotated[Path, typer.Argument(help="A folder of images, or what rga extract wrote.")],
    query: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    overrides: _Overrides = None,
    top: Annotated[int, typer.Option(help="Matches of each query.", min=1)] = 10,
    out: Annotated[Path, typer.Option(help="Image of the first queries' matches.")] = Path("ranks.png"),
    flip: _Flip = False,
    feature: _Feature = None,
    config_dir: _ConfigDir = None,
) -> None:
    """Find the images of a gallery that are most like a query, by the features of a re-ID network.

    Frames are green for the same identity, red for another one, grey where names do not tell (0002_c1s1_....jpg does).
    """
    from rga.inference.features import Extractor
    from rga.inference.searching import draw, kind, search
    from rga.inference.trained import load
    from rga.tasks import ReID

    kind(out)
    extractor = Extractor(load(what, _options(overrides, flip=flip, feature=feature), ReID, config_dir))
    rankings = search(extractor, gallery, query, top, out)
    say("\n\n".join(map(str, rankings)))
    say(f"written to {draw(rankings, extractor.size, out)}", err=True)
