"""CIFAR ResNet and DenseNet: their size to the paper's digits, their forward, their initialisation."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention import RGASC
from rga.backbones import cifar_densenet, cifar_resnet
from rga.backbones.cifar_resnet import Shortcut
from rga.plugin import output_shapes, plug
from rga.runs.compose import compose

Build = Callable[..., nn.Sequential]
densenet_bc = partial(cifar_densenet, bottleneck=True, compression=0.5)
small = pytest.mark.parametrize(
    ("build", "depth"), [(cifar_resnet, 8), (cifar_densenet, 10), (densenet_bc, 16)], ids=["resnet", "densenet", "bc"]
)


def resnet_size(depth: int, classes: int) -> int:
    n = (depth - 2) // 6
    convolutions = 3 * 16 + 2 * n * 16**2 + (16 * 32 + (2 * n - 1) * 32**2) + (32 * 64 + (2 * n - 1) * 64**2)
    norms = 16 + 2 * n * (16 + 32 + 64)
    return 9 * convolutions + 2 * norms + (64 + 1) * classes


def densenet_size(depth: int, classes: int, k: int = 12) -> int:
    n = (depth - 4) // 3
    c = [16 + block * n * k for block in range(4)]  # channels before each block and at the end
    inputs = n * (c[0] + c[1] + c[2]) + 3 * k * n * (n - 1) // 2  # summed over all layers
    return 27 * c[0] + (2 + 9 * k) * inputs + (2 + c[1]) * c[1] + (2 + c[2]) * c[2] + 2 * c[3] + (c[3] + 1) * classes


def densenet_bc_size(depth: int, classes: int, k: int = 12) -> int:
    n = (depth - 4) // 6
    c0 = 2 * k
    b0 = c0 + n * k
    c1 = b0 // 2
    b1 = c1 + n * k
    c2 = b1 // 2
    b2 = c2 + n * k
    inputs = n * (c0 + c1 + c2) + 3 * k * n * (n - 1) // 2
    layers = (2 + 4 * k) * inputs + 3 * n * (2 * 4 * k + 9 * 4 * k * k)
    return 27 * c0 + layers + (2 + c1) * b0 + (2 + c2) * b1 + 2 * b2 + (b2 + 1) * classes


def attention_size(features: int, nodes: int, s: int) -> int:
    """theta, phi, psi; the relation embedding; W1; W2: each a convolution without bias and a BatchNorm."""
    inputs = 1 + nodes // s
    return (
        3 * (features + 2) * (features // s)
        + (2 * nodes + 2) * (nodes // s)
        + (inputs + 2) * (inputs // s)
        + (inputs // s + 2)
    )


def rga_sc_size(channels: int, side: int, s: int) -> int:
    return attention_size(channels, side * side, s) + attention_size(side * side, channels, s)


# Parameters with 100 classes and with 10. What the paper prints is the first in millions, but for the fifth: 7.3.
PAPER = [
    (cifar_resnet, 110, None, 1_733_812, 1_727_962, "1.73"),
    (cifar_resnet, 110, 4, 3_063_584, 3_057_734, "3.06"),
    (cifar_resnet, 218, None, 3_483_700, 3_477_850, "3.48"),
    (cifar_densenet, 100, None, 7_084_852, 6_979_642, "7.08"),
    (cifar_densenet, 100, 8, 7_226_940, 7_121_730, "7.23"),
    (cifar_densenet, 115, None, 9_423_532, 9_302_122, "9.42"),
    (densenet_bc, 100, None, 800_032, 769_162, "0.800"),
    (densenet_bc, 100, 8, 848_537, 817_667, "0.849"),
    (densenet_bc, 115, None, 967_636, 932_986, "0.968"),
    (cifar_resnet, 20, None, 275_572, 269_722, "0.28"),
    (cifar_resnet, 56, None, 858_868, 853_018, "0.86"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("build", "depth", "s", "hundred", "ten", "millions"), PAPER)
def test_parameters(build: Build, depth: int, s: int | None, hundred: int, ten: int, millions: str) -> None:
    with torch.device("meta"):
        network = build(depth)
    channels, side, _ = shape(network, "stage1")
    if s is not None:
        with torch.device("meta"):
            plug(network, partial(RGASC, reduction=s, squeeze=s), ["stage1"], (32, 32))
    size = {cifar_resnet: resnet_size, cifar_densenet: densenet_size, densenet_bc: densenet_bc_size}[build]
    block = 0 if s is None else rga_sc_size(channels, side, s)
    for classes, expected in ((100, hundred), (10, ten)):
        classifier = (shape(network, "")[0] + 1) * classes
        assert sum(p.numel() for p in network.parameters()) + classifier == size(depth, classes) + block == expected
    assert f"{hundred / 1e6:.{len(millions) - 2}f}" == millions


def shape(network: nn.Module, name: str) -> tuple[int, ...]:
    found = output_shapes(network, (32, 32))[name]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("build", "depth", "stem", "stages"),
    [
        (cifar_resnet, 110, 16, [(16, 32, 32), (32, 16, 16), (64, 8, 8)]),
        (cifar_densenet, 100, 16, [(400, 16, 16), (784, 8, 8), (1168, 8, 8)]),
        (densenet_bc, 100, 24, [(108, 16, 16), (150, 8, 8), (342, 8, 8)]),
        (partial(cifar_densenet, bottleneck=True), 22, 16, [(52, 16, 16), (88, 8, 8), (124, 8, 8)]),
        (partial(cifar_densenet, compression=0.5, growth=5), 7, 16, [(10, 16, 16), (7, 8, 8), (12, 8, 8)]),
    ],
)
def test_feature_maps(build: Build, depth: int, stem: int, stages: list[tuple[int, ...]]) -> None:
    with torch.device("meta"):
        network = build(depth)
    assert [name for name, _ in network.named_children()] == ["stem", "stage1", "stage2", "stage3"]
    shapes = output_shapes(network, (32, 32))
    assert shapes["stem"] == (stem, 32, 32)
    assert [shapes[name] for name in ("stage1", "stage2", "stage3")] == stages
    assert shapes[""] == stages[-1]


class Oracle:
    """A forward from the state dict alone, every layer in the order in which the paper has it."""

    def __init__(self, network: nn.Module) -> None:
        self.state = network.state_dict()

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def block(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        y = self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1").relu()
        y = self.norm(self.conv(y, f"{name}.conv2"), f"{name}.bn2")
        return (y + (x if stride == 1 else literal_shortcut(x))).relu()

    def preactivated(self, x: Tensor, norm: str, conv: str) -> Tensor:
        return self.conv(self.norm(x, norm).relu(), conv)

    def dense(self, x: Tensor, name: str) -> Tensor:
        return torch.cat([x, self.preactivated(x, f"{name}.new.0", f"{name}.new.2")], 1)

    def dense_b(self, x: Tensor, name: str) -> Tensor:
        y = self.preactivated(x, f"{name}.new.0", f"{name}.new.2")
        return torch.cat([x, self.preactivated(y, f"{name}.new.3", f"{name}.new.5")], 1)

    def transition(self, x: Tensor, name: str) -> Tensor:
        return F.avg_pool2d(self.preactivated(x, f"{name}.0", f"{name}.3"), 2)


def literal_shortcut(x: Tensor) -> Tensor:
    y = x.new_zeros(len(x), 2 * x.shape[1], x.shape[2] // 2, x.shape[3] // 2)
    for row in range(y.shape[2]):
        for column in range(y.shape[3]):
            y[:, : x.shape[1], row, column] = x[:, :, 2 * row, 2 * column]
    return y


def resnet_oracle(network: nn.Module, x: Tensor) -> Tensor:
    o = Oracle(network)
    x = o.norm(o.conv(x, "stem.0"), "stem.1").relu()
    return o.block(o.block(o.block(x, "stage1.0"), "stage2.0", stride=2), "stage3.0", stride=2)


def densenet_oracle(network: nn.Module, x: Tensor) -> Tensor:
    o = Oracle(network)
    layer = o.dense_b if "stage1.block.0.new.5.weight" in o.state else o.dense
    x = o.conv(x, "stem")
    x = o.transition(layer(layer(x, "stage1.block.0"), "stage1.block.1"), "stage1.transition")
    x = o.transition(layer(layer(x, "stage2.block.0"), "stage2.block.1"), "stage2.transition")
    return o.norm(layer(layer(x, "stage3.block.0"), "stage3.block.1"), "stage3.activation.0").relu()


def trained(network: nn.Sequential) -> nn.Sequential:
    """In eval mode, with BatchNorms that are not the identity."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.3)
    return network.eval()


@small
@torch.no_grad()
def test_forward(build: Build, depth: int) -> None:
    torch.manual_seed(0)
    network, x = trained(build(depth)).double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    oracle = resnet_oracle if build is cifar_resnet else densenet_oracle
    torch.testing.assert_close(network(x), oracle(network, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_shortcut(memory_format: torch.memory_format) -> None:
    x = torch.randn(2, 16, 8, 6).to(memory_format=memory_format)
    y = Shortcut(16, 32, stride=2)(x)
    assert torch.equal(y, literal_shortcut(x))
    assert y.is_contiguous(memory_format=memory_format)


@small
def test_gradient_reaches_every_parameter(build: Build, depth: int) -> None:
    torch.manual_seed(0)
    network = build(depth)
    (network(torch.randn(2, 3, 32, 32)) * torch.linspace(-1, 1, 64).view(8, 8)).sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


@small
def test_channels_last(build: Build, depth: int) -> None:
    torch.manual_seed(0)
    network, x = build(depth).double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = network(x)
    weight = torch.randn_like(expected)
    (expected * weight).sum().backward()
    gradients = [p.grad for p in network.parameters()]
    network.zero_grad(set_to_none=True)
    maps: list[Tensor] = []
    for module in network.modules():
        module.register_forward_hook(lambda module, args, output: maps.append(output))
    y = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert all(map_.is_contiguous(memory_format=torch.channels_last) for map_ in maps)  # nothing turns them back
    (y * weight).sum().backward()
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close([p.grad for p in network.parameters()], gradients)


@small
def test_compile(build: Build, depth: int) -> None:
    torch.manual_seed(0)
    network, x = build(depth), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(torch.compile(network, backend="eager", fullgraph=True)(x), network(x))


@small
@torch.no_grad()
def test_export(build: Build, depth: int) -> None:
    network, x = trained(build(depth)), torch.randn(2, 3, 32, 32)
    exported = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},)).module()
    x = torch.randn(5, 3, 32, 32)
    torch.testing.assert_close(exported(x), network(x))


@pytest.mark.parametrize(("build", "depth"), [(cifar_resnet, 20), (cifar_densenet, 22), (densenet_bc, 40)])
def test_initialisation(build: Build, depth: int) -> None:
    torch.manual_seed(0)
    network = build(depth)
    drawn = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            out, _, height, width = module.weight.shape
            weights = module.weight.detach() / math.sqrt(2 / (out * height * width))
            assert weights.mean().abs() < 4.5 / math.sqrt(weights.numel())
            assert (weights.std() - 1).abs() < 4.5 / math.sqrt(2 * weights.numel())
            drawn.append(weights.flatten())
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.bias, torch.zeros_like(module.bias))
    assert torch.cat(drawn).pow(4).mean() == pytest.approx(3, abs=0.2)  # normal: uniform weights have 1.8


@pytest.mark.parametrize(
    ("build", "depth", "shrink", "same"),
    [
        (cifar_resnet, 110, 9, 14),
        (cifar_resnet, 218, 9, 26),
        (cifar_resnet, 20, 100, 8),
        (cifar_densenet, 100, 9, 13),
        (cifar_densenet, 40, 100, 7),
        (densenet_bc, 115, 9, 16),
        (densenet_bc, 100, 9, 10),
    ],
)
def test_shrink(build: Build, depth: int, shrink: int, same: int) -> None:
    with torch.device("meta"):
        shrunk, expected = build(depth, shrink=shrink), build(same)
    assert sizes(shrunk) == sizes(expected)


@pytest.mark.parametrize(
    ("build", "depth", "near"),
    [
        (cifar_resnet, 100, "98 and 104"),
        (cifar_resnet, 2, "8 and 14"),
        (cifar_resnet, -4, "8 and 14"),
        (cifar_densenet, 110, "109 and 112"),
        (cifar_densenet, 4, "7 and 10"),
        (densenet_bc, 7, "10 and 13"),
        (densenet_bc, 101, "100 and 103"),
    ],
)
def test_depths_that_there_are_not(build: Build, depth: int, near: str) -> None:
    with pytest.raises(ValueError, match=f"got {depth}; near it are {near}"):
        build(depth)
    for possible in near.split(" and "):
        with torch.device("meta"):
            build(int(possible))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="got 0"):
        cifar_resnet(20, shrink=0)
    build: Build = cifar_densenet
    for option in ("growth", "shrink", "compression"):
        with pytest.raises(ValueError, match=f"{option}=0"):
            build(40, **{option: 0})
    with pytest.raises(ValueError, match=r"compression=1\.5"):
        cifar_densenet(40, compression=1.5)


@pytest.mark.parametrize(
    ("name", "build", "depth", "deeper"),
    [
        ("resnet", cifar_resnet, 110, 218),
        ("densenet", cifar_densenet, 100, 115),
        ("densenet_bc", densenet_bc, 100, 115),
    ],
)
def test_configs(name: str, build: Build, depth: int, deeper: int, cache: Path) -> None:
    for now, shrink, overrides in ((depth, 1, []), (deeper, 9, [f"backbone.depth={deeper}", "backbone.shrink=9"])):
        config = compose([f"backbone=cifar_{name}", *overrides])["backbone"]
        assert config["name"] == f"{name}{now}"
        assert config["stages"] == ["stage1", "stage2", "stage3"]
        with torch.device("meta"):
            assert sizes(instantiate(config["trunk"])) == sizes(build(now, shrink=shrink))


def sizes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}
