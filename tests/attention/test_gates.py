"""Masks and channel gates of blocks, against the formulas of their pieces."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from rga import attention
from rga.attention.gate_values import Gates

SIZE = (6, 4)
CHANNELS = 16
Both = tuple[Tensor, Tensor]


def made(name: str, x: Tensor, **options: object) -> nn.Module:
    """A block whose statistics and gates are not those of the start."""
    torch.manual_seed(0)
    block: nn.Module = partial(getattr(attention, name), **options)(CHANNELS, SIZE)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        block.train()(x)
    return block.eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, CHANNELS, *SIZE, generator=torch.Generator().manual_seed(1))


def spatial_first(block: nn.Module, x: Tensor) -> Both:
    mask = block.spatial.gate(x)
    return mask, block.channel.gate(mask * x)


def channel_first(block: nn.Module, x: Tensor) -> Both:
    gates = block.channel.gate(x)
    return block.spatial.gate(gates * x), gates


def side_by_side(block: nn.Module, x: Tensor) -> Both:
    return block.spatial.gate(x), block.channel.gate(x)


def averaged(block: nn.Module, x: Tensor) -> Both:
    gate = (block(x) / x).detach()
    return gate.mean(1, keepdim=True), gate.mean((2, 3), keepdim=True)


RGA = {"reduction": 2, "squeeze": 2}


@pytest.mark.parametrize(
    ("name", "options", "formula"),
    [
        ("RGASC", RGA, spatial_first),
        ("RGACS", RGA, channel_first),
        ("RGAParallel", RGA, side_by_side),
        ("CBAM", {"reduction": 4}, channel_first),
        ("FCParallel", {"reduction": 2}, side_by_side),
        ("PSAParallel", {}, side_by_side),
        ("PSASequential", {}, channel_first),
        ("BAM", {"reduction": 4}, averaged),
        ("Coordinate", {}, averaged),
        ("SimAM", {}, averaged),
        ("Triplet", {}, averaged),
        ("LKA", {}, averaged),
    ],
)
def test_both_are_those_of_the_formula(name: str, options: dict[str, object], formula: object, x: Tensor) -> None:
    block = made(name, x, **options)
    gates = Gates(block, x)
    mask, channel = formula(block, x)
    torch.testing.assert_close(gates.spatial(), mask.squeeze(1).detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gates.channel(), channel.flatten(1).detach(), rtol=1e-4, atol=1e-4)
    assert mask.std() > 1e-3
    assert channel.std() > 1e-3


def test_rga_sc_scales_by_mask_and_channel_gates(x: Tensor) -> None:
    block = made("RGASC", x, **RGA)
    gates = Gates(block, x)
    mask, channel = gates.spatial(), gates.channel()
    assert mask is not None
    assert channel is not None
    torch.testing.assert_close(block(x).detach(), x * mask[:, None] * channel[:, :, None, None])


def test_scse_has_the_mean_of_its_sum_and_the_gates_of_its_se(x: Tensor) -> None:
    block = made("SCSE", x)
    channel = block.channel.gate(x)
    mask = channel.mean((1, 2, 3))[:, None, None] + torch.sigmoid(block.spatial(x))[:, 0]
    gates = Gates(block, x)
    torch.testing.assert_close(gates.spatial(), mask.detach())
    torch.testing.assert_close(gates.channel(), channel.flatten(1).detach())


@pytest.mark.parametrize("name", ["RGAS", "CBAMS", "FCS"])
def test_gates_of_positions_have_no_channel(name: str, x: Tensor) -> None:
    block = made(name, x)
    gates = Gates(block, x)
    torch.testing.assert_close(gates.spatial(), block.gate(x)[:, 0].detach())
    assert gates.channel() is None
    assert gates.found


@pytest.mark.parametrize("name", ["RGAC", "SE", "CBAMC", "FCC"])
def test_gates_of_channels_have_no_mask(name: str, x: Tensor) -> None:
    block = made(name, x)
    gates = Gates(block, x)
    torch.testing.assert_close(gates.channel(), block.gate(x).flatten(1).detach())
    assert gates.spatial() is None
    assert gates.found


@pytest.mark.parametrize("name", ["NonLocal", "DANet", "GC", "StripPooling", "SelfCalibrated"])
def test_what_adds_has_no_gates(name: str, x: Tensor) -> None:
    gates = Gates(made(name, x), x)
    assert (gates.found, gates.spatial(), gates.channel()) == ([], None, None)


def test_a_gate_behind_a_non_local_block_is_found(x: Tensor) -> None:
    block = made("NonLocalRGAS", x)
    mask = block.spatial.gate(block.non_local(x))[:, 0]
    torch.testing.assert_close(Gates(block, x).spatial(), mask.detach())


def test_the_block_is_left_as_it_was(x: Tensor) -> None:
    block = made("RGASC", x, **RGA)
    before = [vars(module).keys() for module in block.modules()]
    Gates(block, x)
    assert [vars(module).keys() for module in block.modules()] == before
    assert not any("gate" in vars(module) for module in block.modules())
