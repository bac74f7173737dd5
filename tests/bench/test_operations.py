"""What a training step launches, moves, keeps and waits for: counted."""

import pytest
import torch
from torch import nn

from rga.attention import RGASC, AnySize
from rga.bench import operations
from rga.bench.memory import saved_bytes
from rga.bench.operations import Operations, step
from rga.losses import BatchHardTriplet
from rga.metrics import rerank


@pytest.fixture(scope="module")
def counted() -> dict[str, dict[str, Operations]]:
    return {name: step(name, batch=64) for name in ("bare", "ours", "nxn")}


def test_operations_over_those_of_the_bare_network(counted: dict[str, dict[str, Operations]]) -> None:
    assert {part: found.count for part, found in counted["bare"].items()} == {"forward": 228, "backward": 178}
    over = {part: counted["ours"][part].count - counted["bare"][part].count for part in ("forward", "backward")}
    assert over["forward"] <= 130
    assert over["backward"] <= 230


def test_bytes_over_those_of_the_bare_network(counted: dict[str, dict[str, Operations]]) -> None:
    """Batch 64 in bfloat16. As modules, RGA-SC moved 10.1 GB."""
    over = {
        name: sum(counted[name][part].bytes - counted["bare"][part].bytes for part in counted[name]) / 1e9
        for name in ("ours", "nxn")
    }
    assert over["ours"] < 8.95
    assert over["nxn"] > 33


def test_nothing_waits_in_a_step(counted: dict[str, dict[str, Operations]]) -> None:
    assert not any(found.waits for parts in counted.values() for found in parts.values())
    features, labels = torch.randn(16, 8, requires_grad=True), torch.arange(4).repeat_interleave(4)
    block, x = AnySize(16, (6, 4), RGASC), torch.randn(2, 16, 9, 7, requires_grad=True)
    with Operations() as found:
        BatchHardTriplet()(features, labels).backward()
        block(x).square().mean().backward()
    assert found.waits == []
    assert features.grad is not None


def test_batch_hard_mining_is_a_few_operations() -> None:
    features, labels = torch.randn(16, 8), torch.arange(4).repeat_interleave(4)
    with Operations() as found:
        BatchHardTriplet()(features, labels)
    assert found.count <= 25  # of which the distances are 1 or, for many features, some


def test_reranking_waits_once_a_chunk() -> None:
    """Not once an image, of which there are 105,000 in MSMT17."""
    query, gallery = torch.randn(40, 8), torch.randn(160, 8)
    waits = []
    for memory in (2**30, 200 * 4 * 50):  # one chunk, and chunks of 50 images
        with Operations() as found:
            torch.cat(list(rerank(query, gallery, memory=memory)))
        waits.append(len(found.waits))
    assert waits[1] < 25
    assert waits[0] <= waits[1]


def test_waiting_is_noticed() -> None:
    x = torch.tensor([0.0, 1.0])
    with Operations() as found:
        x.nonzero()
        x[x > 0]
        x.sum().item()
    assert len(found.waits) == 3


def test_what_is_counted() -> None:
    a, b = torch.ones(4, 3), torch.ones(3)
    with Operations() as found:
        c = (a.t().t() + b.expand(4, 3)).view(12)
        c.add_(1)
        torch.mul(c, 2, out=torch.empty(12))
    assert found.count == 3
    assert found.bytes == 4 * ((12 + 3 + 12) + (12 + 12) + (12 + 12))


def test_memory_of_the_block_of_cityscapes() -> None:
    """A 769 x 769 image behind ResNet-101; 379 MB as modules, 1162 MB with the N x N relation."""
    with torch.device("meta"):
        block, x = RGASC(2048, (97, 97)), torch.empty(1, 2048, 97, 97)
    assert saved_bytes(block, x) / 1e6 < 290


def test_memory_on_the_device_meta_is_that_on_the_cpu() -> None:
    block, x = RGASC(16, (6, 4)), torch.randn(2, 16, 6, 4)
    assert saved_bytes(block, x) == saved_bytes(nn.Module.to(block, "meta"), x.to("meta"))


def test_bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(operations, "step", lambda name, batch: {"forward": Operations(), "backward": Operations()})
    report = operations.main(batch=3)
    assert report["over"]["ours"] == {part: {"operations": 0, "gigabytes": 0} for part in ("forward", "backward")}
    assert "batch 3" in capsys.readouterr().out
