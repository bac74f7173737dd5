"""Deterministic cost of ResNet-50 (256 x 128, last stride 1), per image, against the N x N form. No timings."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rga.attention import RGASC
from rga.backbones import torchvision_trunk
from rga.bench.memory import saved_bytes
from rga.bench.textbook.nxn import NxN
from rga.inspection import forward_flop
from rga.plugin import plug

SIZE = (256, 128)
STAGES = ["layer1", "layer2", "layer3", "layer4"]
BLOCKS = {"bare": None, "ours": RGASC, "nxn": lambda channels, size: NxN(RGASC(channels, size))}


def network(name: str) -> nn.Module:
    return plug(torchvision_trunk("resnet50", last_stride=1), BLOCKS[name], STAGES, SIZE)


@pytest.mark.parametrize(("name", "gflop"), [("bare", 8.11), ("ours", 10.10), ("nxn", 19.65)])
def test_forward_flop(name: str, gflop: float) -> None:
    """2 FLOP per multiply-add."""
    meta = network(name).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        meta(torch.empty(1, 3, *SIZE, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, abs=0.006)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_forward_flop_in_any_number_format(dtype: torch.dtype) -> None:
    """What a run in `64-true` or `bf16-true` logs at its end; the network stays in its format and mode."""
    built = network("ours").to(dtype=dtype)
    assert forward_flop(built, SIZE) / 1e9 == pytest.approx(10.10, abs=0.006)
    assert built.training
    assert {parameter.dtype for parameter in built.parameters()} == {dtype}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "low", "high"), [("bare", 63, 65), ("ours", 79, 83), ("nxn", 170, 185)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_megabytes_saved_for_backward(name: str, low: float, high: float, memory_format: torch.memory_format) -> None:
    """1 MB = 1e6 bytes, float32, the image included; parameters and statistics not."""
    x = torch.randn(1, 3, *SIZE).to(memory_format=memory_format)
    assert low < saved_bytes(network(name).to(memory_format=memory_format), x) / 1e6 < high


@pytest.mark.parametrize(("name", "millions"), [("bare", 23.508), ("ours", 29.822), ("nxn", 29.822)])
def test_parameters(name: str, millions: float) -> None:
    count = sum(parameter.numel() for parameter in network(name).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.0005)
