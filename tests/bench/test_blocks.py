"""The benches run and report what they say; their times are never asserted."""

import json

import pytest
import torch

from rga.bench import rga_blocks, training_step
from rga.bench.memory import saved_bytes
from rga.bench.timing import interleaved, medians


def test_interleaved() -> None:
    order: list[str] = []
    candidates = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = interleaved(candidates, rounds=3)
    assert order == ["b", "a", "a", "b", "b", "a", "a", "b"]  # the first two are the warm-up
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert all(value >= 0 for value in medians(seconds).values())
    with pytest.raises(ValueError, match="rounds"):
        interleaved(candidates, rounds=0)


def test_saved_bytes() -> None:
    layer = torch.nn.Linear(10, 20)
    x = torch.randn(5, 10, requires_grad=True)
    assert saved_bytes(layer, x) == x.nbytes
    assert saved_bytes(torch.nn.Sequential(layer, torch.nn.ReLU()), x) == x.nbytes + 5 * 20 * 4


@pytest.mark.slow
def test_attention(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stages = {"layer4": rga_blocks.STAGES["layer4"]}
    monkeypatch.setattr(rga_blocks, "STAGES", stages)
    report = rga_blocks.main(batch=2, rounds=1, dtype="bfloat16", memory_format="channels_last")
    assert json.loads(json.dumps(report)) == report
    assert set(report["stages"]) == set(stages)
    for row in report["stages"].values():
        assert row["ours"]["saved_mb"] < row["nxn"]["saved_mb"]
        assert row["speedup"] == row["nxn"]["seconds"] / row["ours"]["seconds"]
    assert "layer4" in capsys.readouterr().out
    with pytest.raises(ValueError, match="float16"):
        rga_blocks.main(batch=2, rounds=1, dtype="float16")


@pytest.mark.slow
def test_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(training_step, "SIZE", (64, 32))
    report = training_step.main(batch=2, rounds=1)
    assert json.loads(json.dumps(report)) == report
    assert set(report["networks"]) == set(report["ratios"]) == {"bare", "ours", "nxn"}
    assert report["ratios"]["bare"] == 1
    assert all(set(row) == {"contiguous", "channels_last"} for row in report["networks"].values())
    assert "RGA-SC" in capsys.readouterr().out
