"""What a run's loggers hold can be asked: rank-1 by attention with seeds, over epochs, the gates by stage."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from rga.attention import CBAM
from rga.bench.costs import network_of
from rga.inspection import forward_flop
from rga.tasks import Classification
from rga.training.gates import BINS, _statistics, see
from rga.training.images import show
from rga.training.loggers import wandb_logger
from rga.training.monitor import Monitor
from training.command import CIFAR, SCENES, kill_after_a_checkpoint, only_result, train
from training.wandb_file import OfflineRun, read


def offline(folder: Path) -> OfflineRun:
    (path,) = folder.glob("*/*/wandb/offline-run-*/*.wandb")
    return read(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], tuple[Path, OfflineRun]]:
    found = {}
    for attention, seed in (("rga_sc", 0), ("rga_sc", 1), ("rga_s_wo_rel", 0)):
        folder = tmp_path_factory.mktemp("wandb") / "runs"
        options = ["recipe.epochs=2", f"task.flip={attention != 'rga_sc'}"]
        train(folder, "logger=wandb", f"attention={attention}", f"seed={seed}", *options)
        found[attention, seed] = folder, offline(folder)
    return found


@pytest.mark.slow
def test_rank1_by_attention_with_seeds(runs: dict[tuple[str, int], tuple[Path, OfflineRun]]) -> None:
    asked: dict[str, dict[int, float]] = {}
    for _, run in runs.values():
        asked.setdefault(run.config["attention"], {})[run.config["seed"]] = run.summary["rank1"]
    assert {name: set(seeds) for name, seeds in asked.items()} == {"rga_sc": {0, 1}, "rga_s_wo_rel": {0}}
    for (attention, seed), (folder, _) in runs.items():
        assert asked[attention][seed] == pytest.approx(only_result(folder)["metrics"]["rank1"])


@pytest.mark.slow
def test_names_say_what_a_run_is(runs: dict[tuple[str, int], tuple[Path, OfflineRun]]) -> None:
    (folder, first), (_, second), (_, other) = runs.values()
    assert first.run.display_name == "RGA-SC · market1501 · tiny · seed 0"
    assert other.run.display_name.startswith("RGA-S w/o Rel. · ")
    assert first.run.run_id == f"{only_result(folder)['fingerprint']}-0"
    assert first.run.run_group == second.run.run_group != other.run.run_group
    assert first.run.job_type == "ReID"
    assert {"demo", "market1501"} <= set(first.run.tags)
    assert first.config["config"]["attention"]["block"]["_target_"] == "rga.attention.RGASC"


@pytest.mark.slow
def test_epochs_are_the_axis_and_gates_are_there_by_stage(
    runs: dict[tuple[str, int], tuple[Path, OfflineRun]],
) -> None:
    folder, run = runs["rga_sc", 0]
    losses = [(entry["epoch"], entry["epoch/loss"]) for entry in run.history if "epoch/loss" in entry]
    assert [epoch for epoch, _ in losses] == [1, 2]
    assert [loss for _, loss in losses] == pytest.approx([entry["loss"] for entry in only_result(folder)["curve"]])
    gates = {name for entry in run.history for name in entry if name.startswith("gates/")}
    stages = {name.split("/")[1] for name in gates}
    assert len(stages) == len(run.config["config"]["attention"]["after"])
    kinds = {f"gates/{stage}/{kind}/mean" for stage in stages for kind in ("spatial", "channel")}
    assert kinds <= gates
    assert {name.replace("/mean", "/histogram/bins") for name in kinds} <= gates
    assert {run.axes[name] for name in kinds} == {"epoch"}
    assert {"parameters", "flops", "hours", "data_digest"} <= run.summary.keys()


@pytest.mark.slow
def test_flops_are_those_of_the_network_whatever_is_tested(
    runs: dict[tuple[str, int], tuple[Path, OfflineRun]],
) -> None:
    for _, run in runs.values():
        config = run.config["config"]
        assert run.summary["flops"] == forward_flop(network_of(config), config["data"]["size"])


@pytest.mark.slow
def test_rank_lists_and_gates_are_images(runs: dict[tuple[str, int], tuple[Path, OfflineRun]]) -> None:
    for folder, run in runs.values():  # also of jobs that were forked later
        images_are_there(folder, run, ["test/rank_lists", "test/gates"])


def images_are_there(folder: Path, run: OfflineRun, names: list[str]) -> None:
    (files,), (log,) = folder.glob("*/*/wandb/offline-run-*/files"), folder.glob("*/*/train.log")
    for name in names:
        found = [entry for entry in run.history if f"{name}/filenames" in entry]
        assert len(found) == 1, (name, [sorted(entry) for entry in run.history][-8:], log.read_text())
        (entry,) = found
        (path,) = entry[f"{name}/filenames"]
        with Image.open(files / path) as drawn:
            assert drawn.size == (entry[f"{name}/width"], entry[f"{name}/height"])
            assert len(drawn.getcolors(1 << 20) or []) > 100


@pytest.mark.slow
def test_a_resumed_run_tells_of_the_epochs_before(tmp_path: Path) -> None:
    """Of wandb's offline files under one name the one that is sent last counts: it has to hold the whole run."""
    options = ["logger=wandb", "attention=rga_s"]
    kill_after_a_checkpoint(tmp_path / "runs", *options)
    assert "resuming from" in train(tmp_path / "runs", *options).stderr
    paths = sorted(tmp_path.glob("runs/*/*/wandb/offline-run-*/*.wandb"))
    assert len(paths) == 2
    run = read(max(paths, key=lambda path: path.stat().st_mtime))
    for kind in ("mean", "histogram/bins"):
        names = {name for entry in run.history for name in entry if name.endswith(f"spatial/{kind}")}
        assert names
        for name in names:
            assert [entry["epoch"] for entry in run.history if name in entry] == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize(("small", "expected"), [(CIFAR, "test/confusion_matrix"), (SCENES, "test/classes/")])
def test_images_of_the_other_tasks(tmp_path: Path, small: list[str], expected: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path / "runs", "logger=tensorboard", "recipe.epochs=2", small=small)
    (folder,) = tmp_path.glob("runs/*/*/tensorboard")
    events = EventAccumulator(str(folder))
    events.Reload()
    images = [tag for tag in events.Tags()["images"] if tag.startswith(expected)]
    assert images
    assert all(events.Images(tag)[0].width > 30 for tag in images)


def test_what_goes_wrong_with_an_image_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(Classification):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.answers = torch.ones(3, 3, dtype=torch.long)

    logger = wandb_logger(Path("abc/0"), "rga", offline=True)
    with caplog.at_level("WARNING", logger="rga"):
        show([logger], Gone(), SimpleNamespace(), 0)  # data without classes
    assert "not all images are logged: AttributeError" in caplog.text
    caplog.clear()
    show([wandb_logger(Path("abc/0"), "rga", offline=True, images=False)], Gone(), SimpleNamespace(), 0)
    assert not caplog.text


@pytest.mark.slow
def test_tensorboard_holds_the_same(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path / "runs", "logger=tensorboard", "attention=rga_s", "recipe.epochs=2")
    (folder,) = tmp_path.glob("runs/*/*/tensorboard")
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()
    assert {"rank1", "parameters", "flops"} <= set(tags["scalars"])
    assert {"test/rank_lists", "test/gates"} == set(tags["images"])
    means = [tag for tag in tags["scalars"] if tag.startswith("gates/") and tag.endswith("spatial/mean")]
    assert means
    assert {tag.replace("/mean", "/histogram") for tag in means} <= set(tags["histograms"])


def test_statistics_are_those_of_the_gates() -> None:
    torch.manual_seed(0)
    stage = nn.Sequential()
    stage.add_module("stage", nn.Conv2d(3, 16, 3, padding=1))
    stage.add_module("attention", CBAM(16, (8, 4)))
    network = nn.Sequential()
    network.add_module("layer1", stage)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(4, 3, 8, 4)
    seen = see(network, images)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.eval()
    x = stage.stage(images)
    channel = stage.attention.channel.gate(x).detach()
    spatial = stage.attention.spatial.gate(x * channel).detach()
    for kind, gate in (("channel", channel), ("spatial", spatial)):
        name = f"gates/layer1/{kind}"
        assert seen.values[f"{name}/mean"] == pytest.approx(float(gate.mean()), rel=1e-5)
        assert seen.values[f"{name}/std"] == pytest.approx(float(gate.std(correction=0)), rel=1e-4)
        assert sum(seen.histograms[name]) == gate.numel()


def test_a_look_at_the_gates_does_not_end_a_run(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(nn.Module):
        def gate(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))  # (B, C): not broadcastable to x

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.gate(x)[:, :, None, None]

    network = nn.Sequential()
    network.add_module("attention", Odd())
    monitor = Monitor(1)
    monitor._seen = torch.rand(2, 3, 4, 4)
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext))
    with caplog.at_level("WARNING", logger="rga"):
        assert monitor._gates(trainer, network).values == {}
    assert "the gates are not logged: IndexError" in caplog.text
    assert network.training


def test_counts_of_a_histogram() -> None:
    """Of equal parts of 0..1, each without its upper end; what lies outside counts at the ends."""
    gates = torch.tensor([-0.5, 0.0, 0.019, 0.02, 0.5, 1.0, 1.5])
    counts = _statistics(gates)[3:].tolist()
    assert len(counts) == BINS == 50
    assert {place: count for place, count in enumerate(counts) if count} == {0: 3, 1: 1, 25: 1, 49: 2}


def test_an_option_that_wandb_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="gruop"):
        wandb_logger(tmp_path / "abc" / "0", "rga", offline=True, gruop="x")
    logger = wandb_logger(tmp_path / "abc" / "0", "rga", offline=True, group="x", entity="me")
    assert logger._wandb_init["group"] == "x"
