"""`rga figure 3`: Grad-CAM against its formula, and the command on drawn pictures."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from rga.cli import app
from rga.compose import ConfigError
from rga.data import DataError
from rga.figure import figure, gradcam, kind, spread
from rga.tables import fill, load
from rga.tasks import ReID
from rga.trained import load as load_trained
from untrained import SMALL, write_run

ASKED = [option for option in SMALL if not option.startswith("attention")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """With a run of each row of the figure."""
    folder = tmp_path_factory.mktemp("figure")
    for attention in ("none", "rga_sc"):
        run = write_run(folder, *ASKED, f"attention={attention}", metrics={"rank1": 0.5})
        assert (run / "last.ckpt").exists()
    return folder


def paths(folder: Path) -> list[str]:
    return [f"paths.runs={folder / 'runs'}", f"paths.data={folder / 'data'}"]


def formula(task: ReID, images: Tensor) -> Tensor:
    """Selvaraju et al., equations 1 and 2, then to the picture's size and to 0..1: (B, H, W)."""
    features = task.backbone(images).detach().requires_grad_()
    assert task.classifier is not None
    scores = task.classifier(task.neck(features.mean((2, 3))))
    scores.max(1).values.sum().backward()
    assert features.grad is not None
    weights = features.grad.mean((2, 3), keepdim=True)
    maps = F.relu((weights * features).sum(1, keepdim=True))
    maps = F.interpolate(maps, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0].detach()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def test_the_maps_are_those_of_the_formula(folder: Path) -> None:
    for run in sorted((folder / "runs").glob("*/0")):
        task = load_trained(run, kind=ReID).task
        assert isinstance(task, ReID)
        images = torch.randn(3, 3, 64, 32)
        torch.testing.assert_close(torch.from_numpy(gradcam(task, images)), formula(task, images), rtol=0, atol=1e-4)


def test_the_runs_are_those_of_table_1() -> None:
    drawn = fill(load("3", kind="figure"), ["scale=demo"], counted="here")
    table = fill(load("1"), ["scale=demo", "data=market1501"])
    runs = {line.row.name: {cell.entry.fingerprint for cell in line.cells if cell.entry} for line in table.lines}
    assert [line.row.name for line in drawn.lines] == ["Baseline", "RGA-SC"]
    for line in drawn.lines:
        assert {cell.entry.fingerprint for cell in line.cells if cell.entry} == runs[line.row.name]


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_the_command_draws(folder: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"looks.{ending}"
    done = CliRunner().invoke(app, ["figure", "3", *ASKED, *paths(folder), "--out", str(out), "--count", "3"])
    assert done.exit_code == 0, done.output
    assert "drawn pictures, no result" in done.output
    runs = [f"{path.parent.name}/0" for path in (folder / "runs").glob("*/0")]
    assert all(f"run {run}, rank-1 50.0 %" in done.output for run in runs)
    if ending == "png":
        picture = Image.open(out)
        assert all(run in picture.info["Description"] for run in runs)
    again = tmp_path / f"again.{ending}"
    CliRunner().invoke(app, ["figure", "3", *ASKED, *paths(folder), "--out", str(again), "--count", "3"])
    if ending == "png":
        assert out.read_bytes() == again.read_bytes()


def test_pictures_of_ones_own(folder: Path, tmp_path: Path) -> None:
    for place in range(2):
        Image.new("RGB", (20, 50), (place * 100, 0, 0)).save(tmp_path / f"{place}.jpg")
    filled = fill(load("3", kind="figure"), [*ASKED, *paths(folder)], counted="here")
    assert figure(filled, tmp_path / "out.png", tmp_path)[1].startswith("Baseline: run ")
    with pytest.raises(DataError, match="no pictures"):
        figure(filled, tmp_path / "out.png", tmp_path / "nowhere")


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    filled = fill(load("3", kind="figure"), [*ASKED, f"paths.runs={tmp_path}"], counted="here")
    with pytest.raises(ConfigError, match=r"(?s)figure 3 needs trained weights; --run.*rga train .*attention=rga_sc"):
        figure(filled, tmp_path / "out.png")
    with pytest.raises(DataError, match=r"\.png, \.svg, \.pdf"):
        kind(tmp_path / "out.gif")
    with pytest.raises(ConfigError, match="there is no figure 4; there are: 3"):
        load("4", kind="figure")
    with pytest.raises(ConfigError, match="the rows of figure 3 differ by attention"):
        fill(load("3", kind="figure"), ["attention=se"])


def test_recorded_runs_have_no_weights() -> None:
    asked = ["data=market1501_holdout", "backbone=mobilenetv2", "paths.runs=/nonexistent"]
    table, drawn = fill(load("1"), asked), fill(load("3", kind="figure"), asked, counted="here")
    assert any(entry.recorded for entry in table.entries)
    assert not any(entry.results for entry in drawn.entries)
    assert all(entry.missing == (0,) for entry in drawn.entries)


def test_pictures_from_equally_distant_places() -> None:
    names = [Path(str(place)) for place in range(10)]
    assert spread(names, 3) == [Path("0"), Path("3"), Path("6")]
    assert spread(names, 20) == names
