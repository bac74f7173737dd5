"""`rga figure 3`: maps and masks against their formulas, and the command on synthetic images."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from rga.cli.app import app
from rga.errors import ConfigError, DataError
from rga.inference import attention_maps
from rga.inference.attention_maps import gradcam
from rga.inference.figure3 import Shown, choose, figure, spread
from rga.inference.sheet import kind
from rga.inference.trained import load as load_trained
from rga.network import build
from rga.runs.compose import compose
from rga.tables import FilledTable, fill, load
from rga.tasks import ReID
from untrained import SMALL, write_run

pytestmark = pytest.mark.slow

ASKED = [option for option in SMALL if not option.startswith("attention")]
BLOCKS = ("cbam", "se", "nonlocal", "rga_s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """With a run of each row of the figure, and of other blocks."""
    folder = tmp_path_factory.mktemp("figure")
    for attention in ("none", "rga_sc", *BLOCKS):
        run = write_run(folder, *ASKED, f"attention={attention}", metrics={"rank1": 0.5})
        assert (run / "last.ckpt").exists()
    return folder


def paths(folder: Path) -> list[str]:
    return [f"paths.runs={folder / 'runs'}", f"paths.data={folder / 'data'}"]


def drawn(folder: Path, *overrides: str) -> tuple[FilledTable, str]:
    """The figure with the runs of the folder, and the name of its attention."""
    table, rest, attention = choose(load("3", kind="figure"), [*ASKED, *paths(folder), *overrides])
    return fill(table, rest, counted="here"), attention


def task_of(folder: Path, attention: str) -> ReID:
    entry = drawn(folder, f"attention={attention}")[0].lines[-1].cells[0].entry
    assert entry is not None
    task = load_trained(folder / "runs" / entry.fingerprint / "0", kind=ReID).task
    assert isinstance(task, ReID)
    return task


def formula(task: ReID, images: Tensor, depth: int = 4) -> Tensor:
    """Selvaraju et al., equations 1 and 2, then to the image's size and to 0..1: (B, H, W); of the map of a stage."""
    children = [child for name, child in task.backbone.named_children() if name not in ("global_pool", "fc")]
    assert len(children) == 8  # conv1, bn1, act1, maxpool, and the four stages
    features, rest = torch.nn.Sequential(*children[: 4 + depth]), torch.nn.Sequential(*children[4 + depth :])
    features = features(images).detach().requires_grad_()
    assert task.classifier is not None
    scores = task.classifier(task.neck(rest(features).mean((2, 3))))
    scores.max(1).values.sum().backward()
    assert features.grad is not None
    weights = features.grad.mean((2, 3), keepdim=True)
    maps = F.relu((weights * features).sum(1, keepdim=True))
    maps = F.interpolate(maps, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0].detach()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return ((maps - low) / (high - low)).nan_to_num(0.0)  # a map may be 0 everywhere


def test_the_maps_are_those_of_the_formula(folder: Path) -> None:
    for attention in ("rga_sc", "cbam"):
        task = task_of(folder, attention)
        images = torch.randn(8, 3, 64, 32, generator=torch.Generator().manual_seed(0))
        assert task.classifier is not None
        task.classifier.weight.data.abs_()  # untrained scores may be negative, and their maps 0 everywhere
        assert formula(task, images).max() == 1
        torch.testing.assert_close(torch.from_numpy(gradcam(task, images)), formula(task, images), rtol=0, atol=1e-4)


def test_the_maps_of_a_stage_are_those_of_the_formula(folder: Path) -> None:
    for attention in ("rga_sc", "cbam"):
        task = task_of(folder, attention)
        images = torch.randn(8, 3, 64, 32, generator=torch.Generator().manual_seed(0))
        maps = gradcam(task, images, task.backbone.get_submodule("layer1"))
        assert maps.max() > 0.99
        torch.testing.assert_close(torch.from_numpy(maps), formula(task, images, depth=1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("number", [1, 3])
def test_the_mask_is_the_gate_of_what_the_block_sees(folder: Path, number: int) -> None:
    images = torch.randn(3, 3, 64, 32)
    config = load_config(folder, "rga_sc")
    task = task_of(folder, "rga_sc")
    stage = attention_maps.attention_stage(task.backbone, config, "rga_sc", number)
    network: Any = task.backbone
    x = network.maxpool(network.act1(network.bn1(network.conv1(images))))
    for before in range(1, number):
        x = network.get_submodule(f"layer{before}")(x)
    attended = network.get_submodule(f"layer{number}")
    x = attended.stage(x)
    mask = attended.attention.spatial.gate(x)
    channel = attended.attention.channel.gate(x * mask)
    torch.testing.assert_close(
        torch.from_numpy(attention_maps.masks(task.backbone, images, stage, "rga_sc")), mask[:, 0].detach()
    )
    found = torch.from_numpy(attention_maps.channels(task.backbone, images, stage, "rga_sc"))
    torch.testing.assert_close(found, channel.flatten(1).detach())


def load_config(folder: Path, attention: str, *overrides: str) -> DictConfig:
    config = OmegaConf.create(compose([*ASKED, *paths(folder), f"attention={attention}", *overrides]))
    assert isinstance(config, DictConfig)
    return config


def test_the_last_stage_that_shows_something(folder: Path) -> None:
    demo, network = load_config(folder, "rga_sc"), task_of(folder, "rga_sc").backbone
    assert [stage.size for stage in attention_maps.stages(network, demo)] == [(16, 8), (8, 4), (4, 2), (4, 2)]
    assert attention_maps.attention_stage(network, demo, "rga_sc").number == 1
    assert attention_maps.attention_stage(network, demo, "rga_sc", wanted=4).module == "layer4"
    gradcam = attention_maps.gradcam_stage(network, demo)
    assert gradcam is not None
    assert gradcam.number == 1
    with pytest.raises(ConfigError, match=r"--stage 5: attention=rga_sc stands after 1, 2, 3, 4"):
        attention_maps.attention_stage(network, demo, "rga_sc", wanted=5)


def test_the_papers_network_shows_conv5_x() -> None:
    config = OmegaConf.create(compose(["attention=cbam", "backbone.weights=null"]))
    network, _ = build(config.backbone, config.attention, config.data.size)
    stage = attention_maps.attention_stage(network, config, "cbam")
    assert (stage.number, stage.module, stage.size) == (4, "layer4", (16, 8))
    assert attention_maps.gradcam_stage(network, config) is None


def test_too_small_a_map_is_named(folder: Path) -> None:
    config = load_config(folder, "cbam", "attention.after=[3,4]")
    network, _ = build(config.backbone, config.attention, config.data.size)
    with pytest.raises(ConfigError, match=r"cbam stands after 3, 4, where no map has at least 16 x 8 .*--stage N"):
        attention_maps.attention_stage(network, config, "cbam")
    assert attention_maps.attention_stage(network, config, "cbam", wanted=3).size == (4, 2)


def test_the_runs_are_those_of_table_1() -> None:
    shown = fill(load("3", kind="figure"), ["scale=demo"], counted="here")
    table = fill(load("1"), ["scale=demo", "data=market1501"])
    runs = {line.row.name: {cell.entry.fingerprint for cell in line.cells if cell.entry} for line in table.lines}
    assert [line.row.name for line in shown.lines] == ["Baseline", "RGA-SC"]
    for line in shown.lines:
        assert {cell.entry.fingerprint for cell in line.cells if cell.entry} == runs[line.row.name]


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_the_command_draws(folder: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"looks.{ending}"
    done = CliRunner().invoke(app, ["figure", "3", *ASKED, *paths(folder), "--out", str(out), "--count", "3"])
    assert done.exit_code == 0, done.output
    assert "synthetic images, no result" in done.output
    assert "(a) RGA-SC: Grad-CAM of stage 1 (layer1, 16 x 8 positions), as the last map is smaller" in done.output
    assert "(b) RGA-SC: spatial attention mask after stage 1 (layer1, 16 x 8 positions), the last one" in done.output
    runs = [f"{entry.fingerprint}/0" for entry in drawn(folder)[0].entries]
    assert len(runs) == 2
    assert all(f"run {run}, rank-1 50.0 %" in done.output for run in runs)
    if ending == "png":
        image = Image.open(out)
        assert all(run in image.info["Description"] for run in runs)
    again = tmp_path / f"again.{ending}"
    CliRunner().invoke(app, ["figure", "3", *ASKED, *paths(folder), "--out", str(again), "--count", "3"])
    if ending == "png":
        assert out.read_bytes() == again.read_bytes()


def test_another_block_and_its_parts(folder: Path, tmp_path: Path) -> None:
    def told(*asked: str) -> tuple[int, str]:
        out = str(tmp_path / "out.png")
        done = CliRunner().invoke(app, ["figure", "3", *ASKED, *paths(folder), "--out", out, "--count", "2", *asked])
        return done.exit_code, done.output + str(done.exception or "")

    code, output = told("attention=cbam", "--stage", "2")
    assert (code, "(b) cbam: spatial attention mask after stage 2 (layer2, 8 x 4 positions); gate" in output) == (
        0,
        True,
    )
    code, output = told("attention=se", "--channel")
    assert (code, "se: gates of the 32 channels after stage 1 (layer1" in output) == (0, True)
    code, output = told("attention=se")
    assert code
    assert "attention=se has no spatial mask, it weighs channels: --channel shows their weights" in output
    code, output = told("attention=rga_s", "--channel")
    assert code
    assert "attention=rga_s has no channel gates, it weighs positions: without --channel" in output
    for asked in ([], ["--channel"]):
        code, output = told("attention=nonlocal", *asked)
        assert code
        assert "attention=nonlocal has no" in output
        assert "it adds to its input instead of weighing it" in output
    code, output = told("attention=none")
    assert code
    assert "shows one attention beside the baseline" in output


def test_what_cannot_be_shown_is_said_before_any_training(tmp_path: Path) -> None:
    asked = ["figure", "3", "attention=danet", *ASKED, *paths(tmp_path), "--run", "--out", str(tmp_path / "out.png")]
    done = CliRunner().invoke(app, asked)
    assert "attention=danet has no spatial mask: it adds to its input" in str(done.exception)
    assert not (tmp_path / "runs").exists()


def test_the_range_of_the_mask_is_said(folder: Path, tmp_path: Path) -> None:
    filled, attention = drawn(folder)
    Image.new("RGB", (32, 64), (200, 30, 60)).save(tmp_path / "one.png")
    said = figure(filled, tmp_path / "out.pdf", Shown(attention), tmp_path)[-1]
    task = task_of(folder, "rga_sc")
    level = (torch.tensor([200, 30, 60]) / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    images = level.view(1, 3, 1, 1).expand(1, 3, 64, 32)
    masks = attention_maps.masks(
        task.backbone, images, attention_maps.attention_stage(task.backbone, load_config(folder, "rga_sc"), ""), ""
    )
    assert f"gate values {masks.min():.3f} to {masks.max():.3f}, one scale for all images" in said


def test_images_of_ones_own(folder: Path, tmp_path: Path) -> None:
    for place in range(2):
        Image.new("RGB", (20, 50), (place * 100, 0, 0)).save(tmp_path / f"{place}.jpg")
    filled, attention = drawn(folder)
    with pytest.raises(DataError, match="it would be taken for an image there the next time"):
        figure(filled, tmp_path / "out.png", Shown(attention), tmp_path)
    said = figure(filled, folder / "out.png", Shown(attention), tmp_path)
    assert [line.partition(":")[0] for line in said[1:]] == ["(a) Baseline", "(a) RGA-SC", "(b) RGA-SC"]
    with pytest.raises(DataError, match="nowhere"):
        figure(filled, tmp_path / "out.png", Shown(attention), tmp_path / "nowhere")


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    filled = fill(load("3", kind="figure"), [*ASKED, f"paths.runs={tmp_path}"], counted="here")
    with pytest.raises(ConfigError, match=r"(?s)figure 3 needs trained weights; --run.*rga train .*attention=rga_sc"):
        figure(filled, tmp_path / "out.png", Shown("rga_sc"))
    with pytest.raises(DataError, match=r"\.png, \.svg, \.pdf"):
        kind(tmp_path / "out.gif")
    with pytest.raises(ConfigError, match="there is no figure 4; there are: 3"):
        load("4", kind="figure")
    with pytest.raises(ConfigError, match="the rows of figure 3 differ by attention"):
        fill(load("3", kind="figure"), ["attention=se"])


def test_recorded_runs_have_no_weights() -> None:
    asked = ["scale=small", "scale.zero_init_last=false", "paths.runs=/nonexistent"]
    table, shown = fill(load("1"), asked), fill(load("3", kind="figure"), asked, counted="here")
    assert any(entry.recorded for entry in table.entries)
    assert not any(entry.results for entry in shown.entries)
    assert all(entry.missing == (0,) for entry in shown.entries)


def test_images_from_equally_distant_places() -> None:
    names = [Path(str(place)) for place in range(10)]
    assert spread(names, 3) == [Path("0"), Path("3"), Path("6")]
    assert spread(names, 20) == names
