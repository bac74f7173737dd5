"""`rga figure 3`: where networks look, shown over images of people.

(a) Grad-CAM (Selvaraju et al., ICCV 2017) of the baseline and of a network with attention. A map is scaled to 0..1 in
each image by itself: maps compare places, not strengths. It is 0 everywhere where no place speaks for the class.
(b) The spatial attention mask of that network: the gate's values themselves, in one scale of colours for all images; or
the gates of its channels.

The paper shows conv5_x (section 4.1.4), 16 x 8 positions. Where a network's last map is smaller, at scale=demo for one,
it shows nothing: the last stage with at least as many positions takes its place, and the figure says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from rga.data import ReIDData, decoding
from rga.data.decoding import SUFFIXES
from rga.data.reid.augment import Normalize
from rga.drawing.sheet import Heat, Profile
from rga.errors import ConfigError
from rga.examples import equally_distant
from rga.inference import attention_maps
from rga.inference.features import expect_outside, find
from rga.inference.sheet import draw, kind
from rga.inference.trained import load
from rga.network import build, component
from rga.runs.compose import compose
from rga.tables import Entry, FilledTable, Row, Table
from rga.tasks import ReID


@dataclass(frozen=True)
class Shown:
    """What of the attention is shown.

    Args:
        attention: the choice of conf/attention.
        stage: behind which it stands, counted from 1; None: the last one whose map is large enough to see something.
        channels: the gates of the channels instead of the spatial mask.
    """

    attention: str
    stage: int | None = None
    channels: bool = False


def choose(table: Table, overrides: Sequence[str]) -> tuple[Table, list[str], str]:
    """Let `attention=NAME` take the place of RGA-SC.

    Returns:
        The figure, the other overrides, and the attention's name.

    Raises:
        ConfigError: the baseline, or several at once.
    """
    mine = "attention="
    names = [line.removeprefix(mine) for line in overrides if line.startswith(mine)]
    rest = [line for line in overrides if not line.startswith(mine)]
    (own,) = (line for line in table.rows[-1].overrides or () if line.startswith(mine))
    if not names:
        return table, rest, own.removeprefix(mine)
    name = names[-1]
    if name == "none" or "," in name:
        raise ConfigError(f"{mine}{name}: {table.label} shows one attention beside the baseline, such as {mine}cbam")
    if f"{mine}{name}" == own:
        return table, rest, name
    row = Row(name, (f"{mine}{name}",), table.rows[-1].paper)
    title = f"{table.title}, with {name} in the place of {table.rows[-1].name}"
    return replace(table, title=title, rows=(*table.rows[:-1], row)), rest, name


def check(filled: FilledTable, shown: Shown) -> None:
    """Stop before any training where the attention has nothing to show.

    Raises:
        ConfigError: see `figure`.
    """
    entry = _entries(filled)[-1]
    config = OmegaConf.create(compose(entry.overrides))
    for node in (config.backbone, config.backbone.trunk):
        if "weights" in node:
            node.weights = None
    network, _ = build(config.backbone, config.attention, config.data.size)
    _weights(network.eval(), config, torch.zeros(1, 3, *config.data.size), shown)


def figure(filled: FilledTable, out: Path, shown: Shown, folder: Path | None = None, count: int = 8) -> list[str]:
    """Draw a figure's rows below the images.

    Args:
        filled: the figure, see `experiments/figure3.yaml`, with the runs that were made here; the last row has the
            attention that is shown.
        out: the file to write, .png, .pdf or .svg.
        shown: which part of the attention is shown.
        folder: of the images; None: queries of the data set, one of each person.
        count: how many images, from equally distant places of the list.

    Returns:
        What is shown, in words.

    Raises:
        ConfigError: a run is missing, or its weights are, or it is of another task; the attention has no such part.
        DataError: no images, one that does not decode, or a file that cannot be written.
    """
    kind(out)
    if folder is not None and out.suffix.lower() in SUFFIXES:
        expect_outside(out, folder)
    entries = _entries(filled)
    missing = [entry.command for entry in entries if not entry.results]
    if missing:
        commands = "\n  ".join(missing)
        raise ConfigError(
            f"{filled.table.label} needs trained weights; --run makes the runs that are missing:\n  {commands}"
        )
    config = OmegaConf.create(compose(entries[0].overrides))
    size = (config.data.size[0], config.data.size[1])
    paths = spread(
        _queries(component(config.data)) if folder is None else [folder / name for name in find(folder)], count
    )
    pixels = np.stack([decoding.load(path, size) for path in paths])
    images = Normalize.of(config.data.augment)(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    setting = f"data {entries[0].setting.data}, network {entries[0].setting.network}, {entries[0].setting.budget}"
    captions = [setting + "; synthetic images, no result" * entries[0].setting.synthetic]
    rows: list[Heat | Profile] = []
    for line, entry in zip(filled.lines, entries, strict=True):
        heat, caption = _gradcam(line.row.name, entry, images)
        rows, captions = [*rows, heat], [*captions, caption]
    attention, caption = _attention(filled.lines[-1].row.name, entries[-1], images, shown)
    rows, captions = [*rows, attention], [*captions, caption]
    draw(pixels, rows, captions, out)
    return captions


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """`count` of them from equally distant places; all where there are fewer."""
    return [paths[place] for place in equally_distant(len(paths), count)]


def _gradcam(name: str, entry: Entry, images: Tensor) -> tuple[Heat, str]:
    run, task, config = _trained(entry)
    stage = attention_maps.gradcam_stage(task.backbone, config)
    layer = None if stage is None else task.backbone.get_submodule(stage.module)
    maps = attention_maps.gradcam(task, images.to(task.device), layer)
    rank1 = f"rank-1 {100 * entry.results[0]['metrics']['rank1']:.1f} %"
    where = "the last map" if stage is None else f"{stage}, as the last map is smaller than {_least()}"
    caption = f"(a) {name}: Grad-CAM of {where}; run {run}, {rank1}"
    label = f"(a) Grad-CAM\n{name}\n{rank1}" + ("" if stage is None else f"\nstage {stage.number}")
    return Heat(label, maps, (0.0, 1.0), "of each image's largest"), caption


def _attention(name: str, entry: Entry, images: Tensor, shown: Shown) -> tuple[Heat | Profile, str]:
    _, task, config = _trained(entry)
    stage, weights = _weights(task.backbone, config, images.to(task.device), shown)
    # The stage that the paper shows needs no reason.
    smaller = shown.stage is None and stage.number < len(config.backbone.stages)
    where = f"after {stage}{f', the last one with at least {_least()}' * smaller}"
    low, high = float(weights.min()), float(weights.max())
    values = f"values {low:.3f} to {high:.3f}"
    if shown.channels:
        caption = f"{name}: gates of the {weights.shape[1]} channels {where}; {values}"
        return Profile(f"channel gates\n{name}\nstage {stage.number}", weights), caption
    caption = f"(b) {name}: spatial attention mask {where}; gate {values}, one scale for all images"
    return Heat(f"(b) mask\n{name}\nstage {stage.number}", weights, (low, high), "gate"), caption


def _weights(
    network: nn.Module, config: DictConfig, images: Tensor, shown: Shown
) -> tuple[attention_maps.Stage, NDArray[np.float32]]:
    """What is shown of the attention: (n, h, w) of a mask, (n, C) of channels; and the stage behind which it stands."""
    stage = attention_maps.attention_stage(network, config, shown.attention, shown.stage)
    find_weights = attention_maps.channels if shown.channels else attention_maps.masks
    return stage, find_weights(network, images, stage, shown.attention)


def _entries(filled: FilledTable) -> list[Entry]:
    """One for each row."""
    return [next(cell.entry for cell in line.cells if cell.entry) for line in filled.lines]


def _least() -> str:
    return f"{attention_maps.LEAST[0]} x {attention_maps.LEAST[1]} positions"


def _trained(entry: Entry) -> tuple[str, ReID, DictConfig]:
    """The name of the row's first seed that was run here, its network, and its config."""
    name = f"{entry.fingerprint}/{entry.results[0]['seed']}"
    trained = load(Path(compose(entry.overrides)["paths"]["runs"], name), kind=ReID)
    task = trained.task.float().to("cuda" if torch.cuda.is_available() else "cpu")
    assert isinstance(task, ReID)
    return name, task, trained.config


def _queries(data: ReIDData) -> list[Path]:
    """The first image of each person that is asked for, by identity."""
    data.write_demo()
    first: dict[int, Path] = {}
    for sample in sorted(data.split().query, key=lambda sample: sample.identity):
        first.setdefault(sample.identity, sample.path)
    return list(first.values())
