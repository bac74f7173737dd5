"""What single blocks of the zoo promise beyond the common contract, which test_zoo.py checks."""

from typing import get_args

import pytest
import torch
from torch import nn

import rga.attention
from rga.attention import BAM, GC, SCSE, Coordinate, DANet, PSAParallel, ResidualAttention, Triplet
from rga.attention.layout import outer_sum
from rga.attention.scse import Fusion
from rga.runs.defaults import DEFAULTS

from . import oracles
from .oracles.scse import FUSIONS
from .test_zoo import images, perturb


@pytest.mark.parametrize(
    ("size", "depth"),
    [((56, 56), 3), ((28, 28), 2), ((14, 14), 1), ((7, 7), 1), ((64, 32), 3), ((8, 4), 1), ((1, 1), 1)],
)
def test_residual_attention_pools_as_often_as_the_paper(size: tuple[int, int], depth: int) -> None:
    block = ResidualAttention(8, size)
    assert (len(block.down), len(block.skip), len(block.up)) == (depth, depth - 1, depth)


@pytest.mark.parametrize("size", [(15, 16), (33, 29)])
def test_residual_attention_of_several_levels(size: tuple[int, int]) -> None:
    """The maps of the common suite are so small that they have one level."""
    block = ResidualAttention(8, size).double().eval()
    perturb(block)
    x, oracle = images(2, 8, size).double(), oracles.find("residual")
    torch.testing.assert_close(block(x), oracle.forward(block, x), rtol=1e-9, atol=1e-9)
    assert sum(parameter.numel() for parameter in block.parameters()) == oracle.parameters(8, *size)


@pytest.mark.parametrize("fusion", get_args(Fusion))
def test_scse_fusions(fusion: Fusion) -> None:
    block = SCSE(32, (8, 6), fusion=fusion).double()
    perturb(block)
    x = images().double()
    expected = FUSIONS[fusion](block, x)
    torch.testing.assert_close(block(x), expected)
    gate = block.gate(x)
    torch.testing.assert_close(x * gate, expected)
    assert 0 < gate.min() < gate.max() < (2 if fusion == "add" else 1)


def test_scse_refuses_other_fusions() -> None:
    with pytest.raises(ValueError, match="add, max, multiply, not 'concat'"):
        SCSE(32, (8, 6), fusion="concat")


@pytest.mark.parametrize("block", [GC, DANet])
def test_starts_as_identity(block: type[nn.Module]) -> None:
    assert torch.equal(block(32, (8, 6))(images()), images())


def test_outer_sum() -> None:
    x = images()
    parts = [torch.randn(3, 32, 1, 1), torch.randn(3, 1, 8, 6), torch.randn(3, 32, 8, 1), torch.randn(3, 32, 1, 6)]
    expected = sum(part.expand_as(x) for part in parts)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        actual = outer_sum(x.contiguous(memory_format=memory_format), *parts)
        assert actual.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("block", [BAM, PSAParallel, SCSE, Triplet])
def test_gates_lie_as_the_features_do(block: type[nn.Module]) -> None:
    """Otherwise scaling channels_last features by them is several times slower."""
    x = images().to(memory_format=torch.channels_last)
    assert block(32, (8, 6)).gate(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("channels", "width"), [(64, 8), (256, 8), (1024, 32)])
def test_coordinate_attention_has_eight_channels_at_least(channels: int, width: int) -> None:
    assert Coordinate(channels, (8, 4)).embed.out_channels == width


@pytest.mark.parametrize("name", sorted(name for name in DEFAULTS if hasattr(rga.attention, name)))
def test_ratios_are_whole_numbers_from_1(name: str) -> None:
    """Python divides by -1 as well, and a block one channel wide would come of it."""
    for option in DEFAULTS[name].keys() & {"reduction", "squeeze", "dilation", "pooling"}:
        for value in (0, -1, 1.5):
            with pytest.raises(ValueError, match=rf"{option}={value}: expected a whole number from 1"):
                getattr(rga.attention, name)(32, (8, 4), **{option: value})
