"""Every block of conf/attention under one contract. A new config is tested as it is; it needs an oracle (./oracles)."""

import copy
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.autograd import gradcheck

from rga.paths import CONF

from . import oracles

CHANNELS, SIZE = 32, (8, 6)
FILES = {path.stem: path for path in sorted((CONF / "attention").glob("*.yaml")) if path.stem != "none"}
STAGES = {(256, 64, 32), (512, 32, 16), (1024, 16, 8), (2048, 16, 8)}  # of the re-ID ResNet-50

Build = Callable[..., nn.Module]


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make(name: str) -> Build:
    """make(channels, size) as the plugin calls it; the file is loaded alone, as the contract says it can be."""
    config = OmegaConf.load(FILES[name])
    assert set(config) == {"block", "after"}
    assert config.block._partial_ is True
    partial = instantiate(config.block)

    def build(channels: int = CHANNELS, size: tuple[int, int] = SIZE, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        block = partial(channels, size)
        perturb(block)
        return block

    return build


@pytest.fixture(autouse=True)
def compile_anew() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def perturb(block: nn.Module) -> None:
    """Zeros and ones of an initialisation hide mistakes, and a zero holds gradients back."""
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
        for layer in block.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.bias.add_(0.5)  # a ReLU behind it lets something through, also if it is one channel wide
        for key, buffer in block.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(std=0.2)
            elif key.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)


def images(batch: int = 3, channels: int = CHANNELS, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


def distance(actual: Tensor, expected: Tensor) -> float:
    """Relative to the size of the expected tensor."""
    return ((actual.float() - expected.float()).norm() / expected.float().norm()).item()


def test_after_the_four_stages(name: str) -> None:
    assert OmegaConf.load(FILES[name]).after == [1, 2, 3, 4]


@pytest.mark.parametrize(("channels", "size"), [(CHANNELS, SIZE), (48, (5, 9)), (64, (7, 7))])
def test_oracle(name: str, make: Build, channels: int, size: tuple[int, int]) -> None:
    block, x = make(channels, size).double().eval(), images(2, channels, size).double()
    expected = oracles.find(name).forward(block, x)
    torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-9)
    assert distance(expected, x) > 1e-3  # the block does something
    one = block(x[:1])
    torch.testing.assert_close(one, expected[:1], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_number_of_parameters(name: str, make: Build) -> None:
    for channels, height, width in {(CHANNELS, *SIZE), (12, 3, 2), *STAGES}:  # no width is rounded to 0
        with torch.device("meta"):  # where the plugin and the cost table run a block
            block = make(channels, (height, width))
            assert block(torch.empty(2, channels, height, width)).shape == (2, channels, height, width)
        count = sum(parameter.numel() for parameter in block.parameters())
        assert count == oracles.find(name).parameters(channels, height, width), (channels, height, width)


def test_gate(name: str, make: Build) -> None:
    interval, block, x = oracles.find(name).gate, make().double(), images().double()
    if interval is None:
        assert not hasattr(block, "gate")
        return
    for training in (True, False):
        gate = copy.deepcopy(block).train(training).gate(x)
        assert gate.shape in {(3, 1, *SIZE), (3, CHANNELS, 1, 1), (3, CHANNELS, *SIZE)}
        assert interval[0] < gate.min() < gate.max() < interval[1]
        torch.testing.assert_close(copy.deepcopy(block).train(training)(x), x * gate)


def test_training_step(make: Build) -> None:
    """The shape is kept, the input is left alone and every parameter gets a gradient."""
    block, x = make(), images().requires_grad_()
    before = x.detach().clone()
    y = block(x)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    y.square().mean().backward()
    assert torch.equal(x, before)
    assert x.grad.abs().max() > 0
    for key, parameter in block.named_parameters():
        assert parameter.grad is not None, key
        # In training mode a bias before a BatchNorm gets rounding errors only: a parameter for nothing.
        assert parameter.grad.norm() > 1e-6 * x.grad.norm(), key


def test_gradcheck(make: Build) -> None:
    block, x = make(16, (4, 3)).double(), images(2, 16, (4, 3)).double().requires_grad_()
    parameters = dict(block.named_parameters())

    def forward(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(block, dict(zip(parameters, values, strict=True)), (x,))

    assert gradcheck(forward, (x, *parameters.values()), fast_mode=True)


@pytest.mark.parametrize("training", [True, False])
def test_autocast(make: Build, training: bool) -> None:
    block, x = make().train(training), images().bfloat16()
    expected = copy.deepcopy(block)(x.float())
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x)
    assert y.dtype == torch.bfloat16  # not promoted: the stages that follow keep their memory and speed
    assert distance(y, expected) < 0.05
    y.float().sum().backward()
    assert x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())


def test_channels_last(make: Build) -> None:
    x = images().to(memory_format=torch.channels_last)
    y = make().to(memory_format=torch.channels_last)(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, make()(images()), rtol=1e-4, atol=1e-5)
    assert make()(images()).is_contiguous()


@pytest.mark.slow
def test_compile(make: Build) -> None:
    block, x = make(), images()
    expected = copy.deepcopy(block)(x)
    torch.testing.assert_close(torch.compile(block, fullgraph=True, backend="eager")(x), expected)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
@pytest.mark.parametrize("name", ["se"])
def test_compile_to_machine_code(make: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole compiler takes many seconds for a block: for the smallest one only."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    block, x = make(), images()
    expected = copy.deepcopy(block)(x)
    actual = torch.compile(block, fullgraph=True)(x)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    actual.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())


@pytest.mark.slow
def test_export(make: Build) -> None:
    block = make().eval()
    program = torch.export.export(block, (images(),), dynamic_shapes=({0: torch.export.Dim("batch", min=2, max=64)},))
    torch.testing.assert_close(program.module()(images(5)), block(images(5)), rtol=1e-4, atol=1e-5)


def test_copies(make: Build) -> None:
    block, twin = make().eval(), make(seed=1).eval()
    expected = block(images())
    assert distance(twin(images()), expected) > 0 or not list(block.parameters())
    twin.load_state_dict(block.state_dict())
    for other in (twin, copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(other(images()), expected)
        for parameter in other.parameters():
            parameter.data.zero_()
    assert torch.equal(block(images()), expected)


@pytest.mark.parametrize("size", [(6, 8), (8, 7), (4, 4)])
def test_another_size(make: Build, size: tuple[int, int]) -> None:
    """Either the size matters, and the error names both, or it does not, and the parameters serve every size."""
    block, x = make().eval(), images(size=size)
    try:
        y = block(x)
    except ValueError as error:
        assert all(f"{height}, {width}" in str(error) for height, width in (SIZE, size))  # noqa: PT017
        return
    twin = make(size=size).eval()
    twin.load_state_dict(block.state_dict())
    torch.testing.assert_close(y, twin(x))


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 5)])
def test_small_maps(make: Build, size: tuple[int, int]) -> None:
    """The last stages of small networks: the block works, or its construction says that it cannot."""
    try:
        block = make(16, size)
    except ValueError as error:
        assert f"{size[0]}, {size[1]}" in str(error)  # noqa: PT017
        return
    y = block(images(3, 16, size))
    assert y.shape == (3, 16, *size)
    assert y.isfinite().all()
