"""A gate on a fixed grid: the plain block at the grid's size, RoIAlign and resampled weights at others."""

import copy
import math
import pickle
from collections.abc import Iterator

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from rga.attention import RGASC, SE, AnySize, NonLocal
from rga.attention.any_size import pool
from rga.bench.memory import saved_bytes
from rga.bench.textbook.nxn import NxN
from rga.paths import CONF

CHANNELS, GRID = 16, (6, 8)
OTHERS = [(13, 9), (5, 8), (3, 4), (12, 16), (1, 1)]
FILES = {path.stem: path for path in sorted((CONF / "attention").glob("*.yaml")) if path.stem != "none"}
GATES = [name for name, path in FILES.items() if hasattr(instantiate(OmegaConf.load(path).block)(16, (4, 4)), "gate")]


@pytest.fixture(params=GATES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def compile_anew() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def build(name: str, size: tuple[int, int] = GRID, grid: list[int] | None = None) -> AnySize:
    """As a config has it, with parameters and statistics that are not 0 and 1."""
    inner = OmegaConf.load(FILES[name]).block
    config = {"_target_": "rga.attention.AnySize", "_partial_": True, "grid": grid, "block": inner}
    torch.manual_seed(0)
    block = instantiate(OmegaConf.create(config))(CHANNELS, size)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
        for key, buffer in block.named_buffers():
            if key.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return block


def images(size: tuple[int, int] = GRID, batch: int = 2) -> Tensor:
    return torch.randn(batch, CHANNELS, *size, generator=torch.Generator().manual_seed(1))


def test_there_are_gates() -> None:
    assert {"rga_s", "rga_c", "rga_sc", "rga_cs", "rga_parallel", "se", "cbam"} <= set(GATES)


def test_at_the_grids_size_it_is_the_plain_block(name: str) -> None:
    for training in (True, False):
        block = build(name).train(training)
        plain, x = copy.deepcopy(block.block), images()
        assert torch.equal(block(x), plain(x))
        assert torch.equal(block.eval().gate(x), plain.eval().gate(x))


@pytest.mark.parametrize("size", OTHERS)
def test_at_another_size_features_are_scaled_in_full_resolution(name: str, size: tuple[int, int]) -> None:
    block, x = build(name).eval(), images(size)
    gate = block.gate(x)
    assert gate.shape in {(2, 1, *size), (2, CHANNELS, 1, 1), (2, CHANNELS, *size)}
    torch.testing.assert_close(block(x), x * gate)
    weights = block.block.gate(pool(x, GRID))
    if weights.shape[2:] == (1, 1):
        assert torch.equal(gate, weights)
    else:
        torch.testing.assert_close(gate, resampled(weights, size))


def resampled(weights: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear between the centres of the cells, as a product of matrices."""
    for axis in (2, 3):
        cells, pixels = weights.shape[axis], size[axis - 2]
        place = ((torch.arange(pixels) + 0.5) * cells / pixels - 0.5).clamp(0, cells - 1)
        matrix = (1 - (place[:, None] - torch.arange(cells)).abs()).clamp(min=0)  # (pixels, cells)
        weights = (weights.transpose(axis, 3) @ matrix.t()).transpose(axis, 3)
    return weights


@pytest.mark.parametrize("size", OTHERS)
def test_the_product_of_both_gates_is_resampled_as_if_each_were_by_itself(size: tuple[int, int]) -> None:
    """RGA-SC: the spatial gate resampled, the channel gate as it is."""
    block, x = build("rga_sc").double().eval(), images(size).double()
    pooled = pool(x, GRID)
    spatial = block.block.spatial.gate(pooled)
    channel = block.block.channel.gate(pooled * spatial)
    expected = F.interpolate(spatial, size=size, mode="bilinear") * channel
    torch.testing.assert_close(block.gate(x), expected, rtol=1e-12, atol=1e-14)


def test_the_size_of_construction_is_the_grid_unless_another_is_given() -> None:
    assert build("rga_sc", (5, 7)).grid == (5, 7)
    block = build("rga_sc", (5, 7), grid=[6, 8])
    assert block.grid == (6, 8)
    assert block.block.spatial.size == (6, 8)
    assert block(images((5, 7))).shape == (2, CHANNELS, 5, 7)


@pytest.mark.parametrize(("factor", "grid"), [(1, (6, 8)), (2, (6, 8)), (3, (5, 2)), (7, (1, 1))])
def test_pooling_by_a_whole_factor_is_the_mean(factor: int, grid: tuple[int, int]) -> None:
    x = images((factor * grid[0], factor * grid[1])).double()
    torch.testing.assert_close(pool(x, grid), F.avg_pool2d(x, factor))


def test_pooling_a_smaller_map_interpolates() -> None:
    x = images((3, 5)).double()
    torch.testing.assert_close(pool(x, GRID), F.interpolate(x, size=GRID, mode="bilinear"))


@pytest.mark.parametrize("size", [(13, 9), (25, 8), (7, 31)])
def test_pooling_skips_no_feature(size: tuple[int, int]) -> None:
    x = images(size, batch=1).double().requires_grad_()
    pool(x, GRID).sum().backward()
    assert x.grad.min() > 0
    constant = torch.full((1, CHANNELS, *size), 3.0)
    torch.testing.assert_close(pool(constant, GRID), torch.full((1, CHANNELS, *GRID), 3.0))


def test_images_of_a_batch_are_pooled_by_themselves() -> None:
    x = images((13, 9), batch=3)
    for image in range(3):
        assert torch.equal(pool(x, GRID)[image], pool(x[image : image + 1], GRID)[0])


def test_gradients_at_another_size(name: str) -> None:
    block, x = build(name), images((13, 9)).requires_grad_()
    block(x).square().mean().backward()
    assert x.grad.abs().max() > 0
    assert x.grad.isfinite().all()
    assert all(parameter.grad is not None for parameter in block.parameters())


@pytest.mark.parametrize("size", [GRID, (13, 9), (3, 4)])
def test_autocast_and_bfloat16(size: tuple[int, int]) -> None:
    block, x = build("rga_sc").eval(), images(size)
    expected = block(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert (y.float() - expected).norm() < 0.05 * expected.norm()
    y = block.bfloat16()(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert (y.float() - expected).norm() < 0.05 * expected.norm()


def test_pooling_in_half_precision_has_the_places_of_single_precision() -> None:
    x = torch.arange(300.0).expand(1, 1, 2, 300)
    torch.testing.assert_close(pool(x.bfloat16(), (1, 30)), pool(x.bfloat16().float(), (1, 30)).bfloat16())


@pytest.mark.parametrize("size", [GRID, (13, 9), (3, 4)])
def test_channels_last(size: tuple[int, int]) -> None:
    x = images(size)
    y = build("rga_sc").eval().to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, build("rga_sc").eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [GRID, (13, 9)])
def test_compile(size: tuple[int, int]) -> None:
    block = build("rga_sc").eval()
    torch.testing.assert_close(torch.compile(block, fullgraph=True, backend="eager")(images(size)), block(images(size)))


def test_copies() -> None:
    block, twin = build("rga_sc").eval(), AnySize(CHANNELS, GRID, RGASC).eval()
    expected = block(images((13, 9)))
    twin.load_state_dict(block.state_dict())
    for other in (twin, copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(other(images((13, 9))), expected)
        for parameter in other.parameters():
            parameter.data.zero_()
    assert torch.equal(block(images((13, 9))), expected)


def test_a_block_that_is_no_gate() -> None:
    with pytest.raises(ValueError, match=r"NonLocal is none: it has no method gate"):
        AnySize(CHANNELS, GRID, NonLocal)
    assert isinstance(AnySize(CHANNELS, GRID, SE).block, SE)


def test_another_number_of_channels_is_still_an_error() -> None:
    with pytest.raises(ValueError, match=r"B, 16, 6, 8.*2, 7, 6, 8"):
        build("rga_sc")(torch.randn(2, 7, 13, 9))


# The cost of RGA-SC on the feature map of a 769 x 769 image behind ResNet-101: 97 x 97, 2048 channels, per image.
N, C = 97 * 97, 2048


def parameters(features: int, nodes: int) -> int:
    """Of one gate with s1 = s2 = 8: theta, phi, psi; the relation's embedding; W1; W2; BatchNorm's two each."""
    inner, embedded = features // 8, nodes // 8
    hidden = (1 + embedded) // 8
    weights = 3 * inner * features + 2 * nodes * embedded + (1 + embedded) * hidden + hidden
    return weights + 2 * (3 * inner + embedded + hidden + 1)


def flop(module: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(x)
    return int(counter.get_total_flops())


def test_cost_of_the_segmentation_block() -> None:
    """58.1 million parameters: RGA-C has the 9409 positions as features (33.2 in its embeddings), RGA-S as nodes."""
    with torch.device("meta"):
        ours, x = RGASC(C, (97, 97)), torch.empty(1, C, 97, 97)
        nxn = NxN(ours)
    count = sum(parameter.numel() for parameter in ours.parameters())
    assert count == sum(parameter.numel() for parameter in nxn.parameters()) == 58_139_600
    assert count == parameters(C, N) + parameters(N, C)
    assert flop(ours, x) / 1e9 == pytest.approx(196.4, abs=0.1)  # 2 FLOP per multiply-add
    assert flop(nxn, x) / 1e9 == pytest.approx(644.8, abs=0.1)


def test_the_nxn_relation_of_the_segmentation_block() -> None:
    """The relation in float32 is 338 MiB per image, its rows and columns, which the backward needs, are 675 MiB."""
    assert math.floor(4 * N**2 / 2**20 + 0.5) == 338
    assert math.floor(2 * 4 * N**2 / 2**20 + 0.5) == 675


def test_the_nxn_form_keeps_rows_and_columns_of_the_relation_and_ours_does_not() -> None:
    """Per image, in float32, on a grid on which both can be run; at 97 x 97 x 2048 it is 256 MB against 1162 MB."""
    channels, grid = 256, (25, 25)
    nodes = grid[0] * grid[1]
    ours = RGASC(channels, grid)
    x = torch.randn(1, channels, *grid)
    relations = 2 * 4 * (nodes**2 + channels**2)  # [R(i, :), R(:, i)] of RGA-S and of RGA-C
    nxn = NxN(ours)
    assert saved_bytes(nxn, x) - saved_bytes(ours, x) >= relations
    assert saved_bytes(ours, x) < relations  # all that ours keeps is less than the relations alone
    assert flop(ours, x) < flop(nxn, x) / 2
