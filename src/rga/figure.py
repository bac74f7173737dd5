"""`rga figure 3`: where networks look, drawn over pictures of people.

Grad-CAM (Selvaraju et al., ICCV 2017) of the last feature map, the one that is pooled, behind its attention. The score
is the classifier's largest, as the field's tools have it: who is looked for in a test is none of its classes. A map is
scaled to 0..1 in each picture by itself, so that maps compare places, not strengths; it is 0 everywhere where no place
speaks for the class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import Tensor, nn

from rga.compose import ConfigError, compose
from rga.data import DataError, ReIDData, pictures
from rga.data.augment import Normalize
from rga.extract import writing
from rga.features import find
from rga.network import make
from rga.runs import Run
from rga.tables import Entry, Filled
from rga.tasks import ReID
from rga.trained import load

_NOTE = {"png": "Description", "svg": "Description", "pdf": "Subject"}  # where a file says which runs it shows


@dataclass(frozen=True)
class Looked:
    """A network and where it looks.

    Args:
        name: of the row.
        run: FINGERPRINT/SEED.
        rank1: of that run, in percent.
        maps: (n, H, W) in 0..1.
    """

    name: str
    run: str
    rank1: float
    maps: NDArray[np.float32]

    def __str__(self) -> str:
        return f"{self.name}: run {self.run}, rank-1 {self.rank1:.1f} %"


def figure(filled: Filled, out: Path, folder: Path | None = None, count: int = 8) -> list[str]:
    """Draw a figure's rows below the pictures.

    Args:
        filled: the figure, see `experiments/figure3.yaml`, with the runs that were made here.
        out: the file to write, .png, .pdf or .svg.
        folder: of the pictures; None: queries of the data set, one of each person.
        count: how many pictures, from equally distant places of the list.

    Returns:
        What was drawn, in words.

    Raises:
        ConfigError: a run is missing, or its weights are, or it is of another task.
        DataError: no pictures, one that does not decode, or a file that cannot be written.
    """
    kind(out)
    entries = [next(cell.entry for cell in line.cells if cell.entry) for line in filled.lines]
    missing = [entry.command for entry in entries if not entry.results]
    if missing:
        commands = "\n  ".join(missing)
        raise ConfigError(
            f"{filled.table.label} needs trained weights; --run makes the runs that are missing:\n  {commands}"
        )
    config = OmegaConf.create(compose(entries[0].overrides))
    size = (config.data.size[0], config.data.size[1])
    paths = spread(_queries(make(config.data)) if folder is None else [folder / name for name in find(folder)], count)
    shown = np.stack([pictures.load(path, size) for path in paths])
    images = Normalize()(torch.from_numpy(shown).permute(0, 3, 1, 2))
    rows = [_looked(line.row.name, entry, images) for line, entry in zip(filled.lines, entries, strict=True)]
    setting = f"data {entries[0].setting.data}, network {entries[0].setting.network}, {entries[0].setting.budget}"
    said = [setting + "; drawn pictures, no result" * entries[0].setting.drawn, *map(str, rows)]
    draw(shown, rows, said, out)
    return said


def kind(out: Path) -> str:
    """The kind of a file, by its ending; DataError for one that is not written."""
    if (found := out.suffix.lower().removeprefix(".")) not in _NOTE:
        raise DataError(f"{out}: the figure is written as {', '.join(f'.{name}' for name in _NOTE)}")
    return found


def gradcam(task: ReID, images: Tensor) -> NDArray[np.float32]:
    """Where a network looks: (B, 3, H, W), normalised, to (B, H, W) in 0..1."""
    from pytorch_grad_cam import GradCAM

    maps = GradCAM(_Scores(task), [task.backbone])(images, targets=None)  # None: of the largest score
    return np.asarray(maps, dtype=np.float32)


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """`count` of them from equally distant places; all where there are fewer."""
    count = min(count, len(paths))
    return [paths[place * len(paths) // count] for place in range(count)]


def draw(shown: NDArray[np.uint8], rows: Sequence[Looked], said: Sequence[str], out: Path) -> None:
    """Write the pictures (n, H, W, 3), and below them each row's maps over them.

    Args:
        said: below the figure its first line; all of it in the file's metadata.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**mpl.rcParamsDefault, "svg.hashsalt": "rga", "font.size": 8}):
        height = 0.8 * shown.shape[1] / shown.shape[2]  # of a picture, whose width is 0.8 inches
        sheet = Figure(figsize=(0.85 * len(shown) + 1.2, height * (len(rows) + 1) + 0.4), layout="constrained")
        axes = sheet.subplots(len(rows) + 1, len(shown), squeeze=False)
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        labels = ["picture", *(f"{row.name}\nrank-1 {row.rank1:.1f} %" for row in rows)]
        for line, label in zip(axes, labels, strict=True):
            line[0].set_ylabel(label, rotation=0, ha="right", va="center")
            for axis, picture in zip(line, shown, strict=True):
                axis.imshow(picture)
        for line, row in zip(axes[1:], rows, strict=True):
            for axis, heat in zip(line, row.maps, strict=True):
                axis.imshow(heat, cmap="jet", alpha=0.5, vmin=0, vmax=1)
        sheet.supxlabel(said[0], fontsize=6)
        note: dict[str, Any] = {_NOTE[kind(out)]: "; ".join(said)}
        with writing(out) as target:
            sheet.savefig(target, format=kind(out), dpi=200, metadata=note)


class _Scores(nn.Module):
    """Images (B, 3, H, W) to the classifier's scores (B, classes)."""

    def __init__(self, task: ReID) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> Tensor:
        assert self.task.classifier is not None
        scores: Tensor = self.task.classifier(self.task(images)[1])
        return scores


def _looked(name: str, entry: Entry, images: Tensor) -> Looked:
    """The row of its first seed that was run here."""
    result = entry.results[0]
    run = Run(compose(entry.overrides)["paths"]["runs"], result["config"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    task = load(run.folder, kind=ReID).task.float().to(device)
    assert isinstance(task, ReID)
    maps = gradcam(task, images.to(device))
    return Looked(name, f"{run.fingerprint}/{run.seed}", 100 * result["metrics"]["rank1"], maps)


def _queries(data: ReIDData) -> list[Path]:
    """The first picture of each person that is asked for, by identity."""
    data.write_demo()
    first: dict[int, Path] = {}
    for sample in sorted(data.split().query, key=lambda sample: sample.identity):
        first.setdefault(sample.identity, sample.path)
    return list(first.values())
