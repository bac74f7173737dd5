"""`rga cost`: numbers against closed forms, and what is printed of them. Times are never asserted."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from typer.testing import CliRunner

import rga.backbones.trunks
from rga.attention import SE
from rga.bench.costs import Cost, costs
from rga.bench.memory import saved_bytes
from rga.cli.app import app
from rga.errors import ConfigError
from rga.runs import Run
from rga.runs.compose import compose
from rga.tables.notes import NO_RUN

STAGES = {(32, 16 * 8), (64, 8 * 4), (96, 4 * 2), (128, 4 * 2)}  # channels and nodes of the demo's network
DEMO = ["scale=demo", "data.size=[64,32]"]

pytestmark = pytest.mark.usefixtures("cache")


def measure(*blocks: str, overrides: list[str] = DEMO, **options: Any) -> dict[str, Cost]:
    configs = {name: compose([*overrides, f"attention={name}"]) for name in ("none", *blocks)}
    return costs(configs, **{"rounds": 1, **options})


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rga.backbones.trunks, "_download", lambda *_: pytest.fail("weights are downloaded"))


@pytest.mark.slow
def test_resnet50() -> None:
    """The numbers of tests/test_cost.py; there the bytes are those of a batch of one."""
    found = measure("rga_sc", overrides=[], batch=1)
    for name, millions, gflop, megabytes in (("none", 23.508, 8.11, 63.6), ("rga_sc", 29.822, 10.10, 81.0)):
        cost = found[name]
        assert cost.problem is None
        assert [round(cost.parameters / 1e6, 3), round(cost.flop / 1e9, 2), round(cost.saved_bytes / 1e6, 1)] == [
            millions,
            gflop,
            megabytes,
        ]


@pytest.fixture(scope="module")
def small() -> dict[str, Cost]:
    return measure("se", "nonlocal", "danet", "simam")


def added(small: dict[str, Cost], name: str) -> tuple[int, int, int]:
    cost, bare = small[name], small["none"]
    return cost.parameters - bare.parameters, cost.flop - bare.flop, cost.saved_bytes - bare.saved_bytes


@pytest.mark.slow
def test_se(small: dict[str, Cost]) -> None:
    parameters, flop, kept = added(small, "se")
    reduced = {channels: channels // 16 for channels, _ in STAGES}
    assert parameters == sum(2 * c * r + r + c for c, r in reduced.items())
    assert flop == sum(2 * 2 * c * r for c, r in reduced.items())
    # The means, the hidden layer and the gate; the scaled map, which the next stage needs (behind the last is none).
    floats = sum(2 * c + r for c, r in reduced.items()) + sum(c * n for c, n in STAGES if c < 128)
    assert kept == 4 * floats


def test_attention_over_all_nodes_is_counted(small: dict[str, Cost]) -> None:
    """Also that of PyTorch's fused kernels."""
    parameters, flop, _ = added(small, "nonlocal")
    assert parameters == sum(4 * c * (c // 2) + 2 * c for c, _ in STAGES)
    assert flop == sum(2 * (4 * n * c * (c // 2) + 2 * n * n * (c // 2)) for c, n in STAGES)
    _, flop, _ = added(small, "danet")
    embedding, positions, channels = 0, 0, 0
    for c, n in STAGES:
        embedding += n * c * (2 * (c // 8) + c)
        positions += n * n * (c // 8 + c)
        channels += 2 * c * c * n
    assert flop == 2 * (embedding + positions + channels)


def test_a_block_without_parameters(small: dict[str, Cost]) -> None:
    parameters, flop, kept = added(small, "simam")
    assert (parameters, flop) == (0, 0)
    assert kept > 0
    assert all(cost.forward > 0 and cost.step > 0 for cost in small.values())


def test_what_a_network_changes_of_a_block_counts() -> None:
    """The paper's ResNet-110 has 1.73 M parameters, with RGA-SC (s1 = s2 = 4) behind its first stage 3.06 M."""
    found = measure("rga_sc", overrides=["experiment=cifar_resnet", "scale=demo"])
    assert (found["rga_sc"].parameters - found["none"].parameters) / 1e6 == pytest.approx(3.06 - 1.73, abs=0.01)


def test_segmentation_and_a_block_that_is_refused() -> None:
    found = measure("se", "danet", overrides=["experiment=cityscapes", "scale=demo", "data.size=[33,49]"])
    width, channels, reduced = 64, 128, 8  # of the demo's head and of the features, beside which SE's stand
    se = 2 * channels * reduced + reduced + channels
    assert found["se"].parameters - found["none"].parameters == se + 3 * 3 * channels * width
    assert found["se"].step is not None
    assert found["danet"].problem is not None
    assert "DANet is none" in found["danet"].problem
    assert found["danet"].parameters is None
    assert found["danet"].step is None


def test_out_of_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: SE, x: torch.Tensor) -> torch.Tensor:
        if x.is_meta:
            return x
        raise torch.OutOfMemoryError("out of memory\nTried to allocate 90 GiB")

    monkeypatch.setattr(SE, "forward", full)
    found = measure("se", "simam")
    assert found["se"].problem == "out of memory"
    assert found["se"].parameters == found["none"].parameters + sum(2 * c * (c // 16) + c // 16 + c for c, _ in STAGES)
    assert found["se"].saved_bytes is None
    assert found["simam"].step is not None


def test_precision_and_memory_format() -> None:
    bfloat16 = measure("se", overrides=[*DEMO, "trainer.precision=bf16-mixed", "trainer.channels_last=true"])
    assert bfloat16["se"].saved_bytes < measure("se")["se"].saved_bytes
    with pytest.raises(ConfigError, match=r"16-true.* bf16-mixed"):
        measure(overrides=[*DEMO, "trainer.precision=16-true"])


def test_the_bare_network_must_work() -> None:
    with pytest.raises(ConfigError, match=r"without attention .*stages 1 to 4"):
        measure("se", overrides=[*DEMO, "attention.after=[7]"])


def test_what_was_counted_is_freed() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Sigmoid())
    outputs: list[StorageWeakRef] = []
    for layer in network:
        layer.register_forward_hook(lambda _, x, y: outputs.append(StorageWeakRef(y.untyped_storage())))
    assert saved_bytes(network, torch.randn(2, 3, 5, 5)) > 0
    assert all(storage.expired() for storage in outputs)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds of SE, made up; torch is a CPU's here."""
    monkeypatch.chdir(tmp_path)
    for seed, rank1 in ((0, 0.5), (1, 0.52)):
        config = compose([*DEMO, "data=market1501", "attention=se", f"seed={seed}"])
        Run("runs", config).write_result({"metrics": {"rank1": rank1, "map": 0.25}})


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["cost", "--rounds", "1", *DEMO, *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("recorded")
def test_json() -> None:
    table = json.loads(printed("attention=se", "--format", "json", "--batch", "3"))
    assert table["table"] == "attention"
    setting = table["setting"]
    assert (setting["data"], setting["network"], setting["scale"]) == ("market1501 (synthetic)", "tiny", "demo")
    assert (setting["size"], setting["device"], setting["batch"], setting["rounds"]) == ([64, 32], "cpu", 3, 1)
    assert (setting["dtype"], setting["channels_last"], setting["compile"]) == ("float32", True, False)
    none, se = table["rows"]
    assert [none["name"], se["name"]] == ["none", "se"]
    assert (none["cost"]["after"], se["cost"]["after"]) == ([], [1, 2, 3, 4])
    assert (none["cost"]["parameters_added"], none["cost"]["forward"], none["cost"]["step"]) == (0, 1, 1)
    assert se["cost"].keys() == none["cost"].keys()
    assert se["cost"]["parameters"] == none["cost"]["parameters"] + se["cost"]["parameters_added"]
    assert se["cost"]["problem"] is None
    rank1, mean = se["cells"]
    assert (rank1["column"], rank1["metric"], rank1["n"], rank1["ours"]) == ("market1501", "rank-1", 2, 51.0)
    assert (mean["metric"], mean["ours"], mean["std"]) == ("mAP", 25.0, 0.0)
    assert [cell["ours"] for cell in none["cells"]] == [None, None]


@pytest.mark.usefixtures("recorded")
def test_text() -> None:
    text = printed("attention=se", "--commands")
    threads = torch.get_num_threads()
    title = f"Attention blocks: tiny at 64 x 32, behind stages 1, 2, 3, 4; cpu, {threads} thread"
    assert text.startswith(title)
    assert text.splitlines()[0].endswith("batch 2, float32, channels_last")
    assert "NOT results on the paper's data sets" in text
    rows = {words[0]: words[1:] for line in text.splitlines() if (words := line.split()) and words[0] in ("none", "se")}
    assert rows["none"][:2] == ["0.500", "0.000"]
    assert rows["none"][4:] == ["1.00", "1.00", NO_RUN, NO_RUN]
    assert rows["se"][:2] == ["0.504", "0.004"]
    assert rows["se"][6:] == ["51.0", "±", "1.4", "(2)", "25.0", "±", "0.0", "(2)"]
    assert "rga train data=market1501 attention=none scale=demo" in text


@pytest.mark.parametrize("format", ["md", "latex", "csv"])
def test_other_formats_and_a_row_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    monkeypatch.chdir(tmp_path)
    text = printed("attention=danet", "experiment=cityscapes", "--format", format)
    if format == "csv":
        none, danet = csv.DictReader(text.splitlines())
        assert (none["row"], none["added (M)"], none["metric"]) == ("none", "0.000", "mIoU")
        assert (danet["params (M)"], danet["step"]) == ("", "")
    else:
        assert "danet: cannot be used here: AnySize" in text
        assert "beside the features" in text


def test_usage() -> None:
    refused = CliRunner().invoke(app, ["table", "1", "--batch", "2"])
    assert refused.exit_code == 2
    assert "--batch" in refused.output
    with pytest.raises(ConfigError, match="--device nowhere"):
        CliRunner().invoke(app, ["cost", "--device", "nowhere", "attention=se", *DEMO], catch_exceptions=False)
