"""Features of every scale under autocast to float16, against float64."""

import copy

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from rga.attention import LKA, RGASC, AnySize, DANet, NonLocal
from rga.attention.half import affinity, linear, matmul

from .test_zoo import FILES

CHANNELS, SIZE = 64, (16, 8)


def perturbed(block: nn.Module) -> nn.Module:
    """Scales that begin at 0 would hide what is behind them."""
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return block


def features(scale: float, channels: int = CHANNELS, size: tuple[int, int] = SIZE) -> Tensor:
    """Behind a ReLU, as stages put them out."""
    return (torch.randn(4, channels, *size, generator=torch.Generator().manual_seed(1)) * scale).relu().half()


def check(block: nn.Module, x: Tensor, tolerance: float = 0.03) -> None:
    exact = copy.deepcopy(block).double()(x.double())
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.float16):
        y = block(x)
    assert y.dtype == (torch.float32 if isinstance(block, LKA) else torch.float16)  # LKA's has no bound
    assert y.isfinite().all()
    assert (y.double() - exact).norm() < tolerance * exact.norm()
    (y.float() / 1e4).mean().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1, 10, 100, 300])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_the_zoo(name: str, training: bool, scale: float) -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        block = perturbed(instantiate(OmegaConf.load(FILES[name]).block)(CHANNELS, SIZE)).train(training)
        check(block.to(memory_format=layout), features(scale).contiguous(memory_format=layout))


@pytest.mark.parametrize(("channels", "size"), [(8, (16, 16)), (64, (4, 4)), (64, (16, 16)), (300, (4, 4))])
@pytest.mark.parametrize("block", [DANet, NonLocal])
def test_the_plain_product_and_the_fused_one(block: type[nn.Module], channels: int, size: tuple[int, int]) -> None:
    """Which of the two is taken depends on the shape."""
    torch.manual_seed(0)
    check(perturbed(block(channels, size)), features(300, channels, size))


def test_a_grid() -> None:
    torch.manual_seed(0)
    check(perturbed(AnySize(CHANNELS, (8, 4), RGASC)), features(300))


def test_networks_in_half_as_a_whole() -> None:
    torch.manual_seed(0)
    for name in ("danet", "nonlocal", "simam"):
        block, x = perturbed(instantiate(OmegaConf.load(FILES[name]).block)(CHANNELS, SIZE)), features(300)
        exact = copy.deepcopy(block).double()(x.double())
        y = block.half()(x)
        assert y.dtype == torch.float16
        assert (y.double() - exact).norm() < 0.03 * exact.norm(), name


def test_products_are_float32_under_float16_alone() -> None:
    a, b = torch.full((1, 4, 64), 300.0), torch.full((1, 64, 4), 300.0)
    assert matmul(a, b).dtype == torch.float32
    for dtype, expected in ((torch.float16, torch.float32), (torch.bfloat16, torch.bfloat16)):
        with torch.autocast("cpu", dtype):
            assert matmul(a, b).dtype == linear(a, b[0].t()).dtype == expected
            assert matmul(a, b).isfinite().all()
            assert (a @ b).dtype == dtype
    with torch.autocast("cpu", torch.float16):
        assert not (a @ b).isfinite().all()  # 64 x 300 x 300 is more than float16 has
        assert torch.equal(affinity(a, b), torch.full((1, 4, 4), 0.25))
