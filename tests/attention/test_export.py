"""Blocks in traces and exports: torch.fx, feature extractors, sizes as symbols, and ONNX Runtime's numbers."""

import copy
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import torchvision
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.export import Dim
from torchvision.models.feature_extraction import create_feature_extractor

from rga.attention import RGASC, AnySize
from rga.attention.any_size import _pool_any, pool
from rga.plugin import plug

from .test_any_size import GATES
from .test_zoo import CHANNELS, FILES, SIZE, images, perturb

FIXED = [name for name in FILES if "rga" in name or name in ("fc_s", "fc_parallel", "residual")]
ANY = [name for name in FILES if name not in FIXED]


def build(name: str, size: tuple[int, int] = SIZE) -> nn.Module:
    torch.manual_seed(0)
    block: nn.Module = instantiate(OmegaConf.load(FILES[name]).block)(CHANNELS, size)
    perturb(block)
    return block.eval()


@pytest.mark.parametrize("name", FILES)
def test_traced_by_fx(name: str) -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        block, x = build(name), images().contiguous(memory_format=layout)
        traced = torch.fx.symbolic_trace(block)
        assert torch.equal(traced(x), block(x))
        assert torch.equal(copy.deepcopy(traced)(x), block(x))


@pytest.mark.parametrize("name", FIXED)
def test_a_trace_keeps_the_error_of_another_size(name: str) -> None:
    traced = torch.fx.symbolic_trace(build(name))
    traced.graph.eliminate_dead_code()
    traced.recompile()
    with pytest.raises(ValueError, match=rf"{CHANNELS}, 8, 6\).*{CHANNELS}, 9, 7\)"):
        traced(images(size=(9, 7)))


@pytest.mark.parametrize("name", GATES)
def test_a_grid_traced_by_fx(name: str) -> None:
    """In a trace a map of the grid's size goes the way of all others: the same to rounding."""
    torch.manual_seed(0)
    block = AnySize(CHANNELS, SIZE, instantiate(OmegaConf.load(FILES[name]).block)).eval()
    traced = torch.fx.symbolic_trace(block)
    for size in (SIZE, (13, 9), (3, 4)):
        torch.testing.assert_close(traced(images(size=size)), block(images(size=size)), rtol=1e-5, atol=1e-6)


def resnet(depth: int, size: tuple[int, int]) -> nn.Module:
    torch.manual_seed(0)
    network = torchvision.models.get_model(f"resnet{depth}", weights=None)
    plug(network, RGASC, ["layer1", "layer2", "layer3", "layer4"], size)
    return network.eval()


def test_features_of_a_network_with_blocks() -> None:
    network, x = resnet(18, (64, 32)), torch.randn(2, 3, 64, 32)
    extractor = create_feature_extractor(network, ["layer2.attention.channel.mul", "layer4.stage", "flatten"])
    features = extractor(x)
    assert torch.equal(network.fc(features["flatten"]), network(x))
    seen: list[Tensor] = []
    network.layer2.register_forward_hook(lambda module, args, y: seen.append(y))
    network(x)
    assert torch.equal(features["layer2.attention.channel.mul"], seen[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ANY)
def test_exported_for_every_size(name: str) -> None:
    block = build(name)
    dynamic = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    program = torch.export.export(block, (images(size=(9, 11)),), dynamic_shapes=dynamic).module()
    for size in ((9, 11), (6, 6), (20, 7)):  # no window of a block is larger: a side of 1 would be a constant
        x = images(5, size=size)
        torch.testing.assert_close(program(x), block(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", GATES)
def test_a_grid_exported_for_every_size(name: str) -> None:
    torch.manual_seed(0)
    block = AnySize(CHANNELS, SIZE, instantiate(OmegaConf.load(FILES[name]).block)).eval()
    dynamic = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    program = torch.export.export(block, (images(size=(13, 9)),), dynamic_shapes=dynamic).module()
    for size in (SIZE, (13, 9), (40, 31), (3, 4), (9, 9)):
        x = images(5, size=size)
        torch.testing.assert_close(program(x), block(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(13, 9), (5, 8), (3, 4), (12, 16), (1, 1), (25, 31), (7, 90)])
def test_pooling_as_products_of_matrices(size: tuple[int, int]) -> None:
    x = images(2, 4, size).double()
    torch.testing.assert_close(_pool_any(x, (6, 8)), pool(x, (6, 8)), rtol=1e-12, atol=1e-12)


def session(module: nn.Module, x: Tensor, axes: dict[int, Any], file: Path) -> Any:
    program = torch.onnx.export(module, (x,), dynamic_shapes=(axes,), dynamo=True, verbose=False)
    assert program is not None
    program.save(file)
    runtime = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = runtime.get_inputs()[0].name
    return lambda images: torch.from_numpy(runtime.run(None, {name: images.numpy()})[0])


@pytest.mark.slow
def test_resnet50_with_rga_in_onnx_runtime(tmp_path: Path) -> None:
    """Batches of any size, from one file."""
    network = resnet(50, (64, 32))
    run = session(network, torch.randn(2, 3, 64, 32), {0: Dim.DYNAMIC}, tmp_path / "resnet50.onnx")
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, 64, 32)
        with torch.no_grad():
            torch.testing.assert_close(run(x), network(x), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_grid_in_onnx_runtime(tmp_path: Path) -> None:
    torch.manual_seed(0)
    block = AnySize(16, SIZE, RGASC).eval()
    perturb(block)
    axes = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    run = session(block, torch.randn(2, 16, 13, 9), axes, tmp_path / "grid.onnx")
    for size in (SIZE, (13, 9), (40, 31), (3, 4), (9, 9)):
        x = torch.randn(3, 16, *size)
        with torch.no_grad():
            torch.testing.assert_close(run(x), block(x), rtol=1e-4, atol=1e-5)
