"""What everyone may do with a block: number formats, memory formats, compile, export, copy, pickle."""

import copy
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor, nn

import rga.attention
from rga.attention import RGAC, RGACS, RGAS, RGASC, RGAParallel
from rga.paths import CONF

SHAPE = (16, 6, 4)  # C, H, W
FILES = sorted(path for path in (CONF / "attention").glob("rga_*.yaml"))


def build(file: Path) -> nn.Module:
    options = cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(file).block, resolve=True))
    assert options.pop("_partial_") is True
    torch.manual_seed(0)
    module, _, name = options.pop("_target_").rpartition(".")
    assert module == "rga.attention"
    block = getattr(rga.attention, name)(SHAPE[0], SHAPE[1:], **options)
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):  # so that the gates differ from 1/2
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.weight)
    return block


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def block(request: pytest.FixtureRequest) -> nn.Module:
    return build(request.param)


def images(batch: int = 3, **options: Any) -> Tensor:
    return torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(1), **options)


def test_the_rows_of_table_1_have_their_file() -> None:
    names = ["s", "c", "sc", "cs", "parallel", "s_wo_rel", "s_wo_vis", "c_wo_rel", "c_wo_vis"]
    assert {path.stem for path in FILES} == {f"rga_{name}" for name in names}
    for path in FILES:
        assert yaml.safe_load(path.read_text())["after"] == [1, 2, 3, 4]
    assert yaml.safe_load((CONF / "attention" / "none.yaml").read_text()) == {"block": None, "after": []}


@pytest.mark.parametrize("training", [True, False])
def test_forward_is_the_input_times_the_gate(block: nn.Module, training: bool) -> None:
    block, x = block.double().train(training), images().double()
    gate = copy.deepcopy(block).gate(x)
    assert gate.shape in {(3, 1, 6, 4), (3, 16, 1, 1), (3, 16, 6, 4)}
    assert gate.min() > 0
    assert gate.max() < 1
    torch.testing.assert_close(block(x), gate * x)


def test_shape_of_the_gate() -> None:
    kinds = {RGAS: (3, 1, 6, 4), RGAC: (3, 16, 1, 1), RGASC: (3, *SHAPE), RGACS: (3, *SHAPE), RGAParallel: (3, *SHAPE)}
    for kind, shape in kinds.items():
        assert kind(16, (6, 4)).gate(images()).shape == shape


def test_float32_is_close_to_float64(block: nn.Module) -> None:
    exact = copy.deepcopy(block).double()(images().double())
    torch.testing.assert_close(block(images()).double(), exact, rtol=1e-3, atol=1e-4)


def test_autocast(block: nn.Module) -> None:
    x = images().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x)
    y.float().sum().backward()
    assert y.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())
    torch.testing.assert_close(y.float(), block(x), rtol=0.1, atol=0.3)


def test_channels_last_stays(block: nn.Module) -> None:
    x = images().to(memory_format=torch.channels_last)
    y = copy.deepcopy(block).to(memory_format=torch.channels_last)(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, block(images()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [RGAS, RGAC])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_no_map_is_copied(kind: type, memory_format: torch.memory_format) -> None:
    block = kind(16, (6, 4)).to(memory_format=memory_format)
    x = images().to(memory_format=memory_format).requires_grad_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        block(x).backward(torch.randn_like(x))
    events = [event for event in profile.events() if event.name in ("aten::copy_", "aten::clone")]
    # In place, baddbmm "copies" its own memory onto itself, which ends before anything is moved.
    copied = [event.input_shapes for event in events if event.cpu_parent.name != "aten::baddbmm_"]
    assert not [shapes for shapes in copied if shapes and torch.Size(shapes[0]).numel() == x.numel()], copied


def test_one_image_in_eval_mode(block: nn.Module) -> None:
    block.eval()
    torch.testing.assert_close(block(images()[:1]), block(images())[:1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RGAS, RGASC])
def test_compile(kind: type) -> None:
    block, x = kind(16, (6, 4)), images()
    compiled = torch.compile(copy.deepcopy(block), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), block(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(Exception, match=r"16, 6, 4"):
        compiled(images()[:, :, :3])


@pytest.mark.slow
def test_export(block: nn.Module) -> None:
    block.eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(block, (images(),), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(images(5)), block(images(5)), rtol=1e-4, atol=1e-5)


def test_copy_and_pickle(block: nn.Module) -> None:
    block.eval()
    for twin in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(twin(images()), block(images()))
        next(twin.parameters()).data.add_(1)  # a copy of its own
        assert not torch.equal(next(twin.parameters()), next(block.parameters()))


@pytest.mark.parametrize("shape", [(2, 16, 6, 5), (2, 15, 6, 4), (2, 16, 4, 6), (16, 6, 4)])
def test_another_size(block: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"16, 6, 4") as error:
        block(torch.zeros(shape))
    assert str(shape) in str(error.value)
    with pytest.raises(ValueError, match=r"16, 6, 4"):
        block.gate(torch.zeros(shape))


def test_widths_follow_the_ratios_and_stay_positive() -> None:
    attention = RGAS(64, (8, 4), reduction=4, squeeze=3).attention
    assert attention.embed.weight.shape == (3 * 16, 64)
    assert attention.relate.weight.shape == (8, 64)
    assert attention.squeeze.weight.shape == ((1 + 8) // 3, 9)
    assert RGAS(64, (8, 4), relation=False).attention.squeeze.weight.shape == (1, 1)
    assert RGAS(64, (8, 4), vision=False).attention.squeeze.weight.shape == (1, 4)
    assert RGASC(4, (2, 2))(torch.randn(2, 4, 2, 2)).shape == (2, 4, 2, 2)
    with pytest.raises(ValueError, match="switched off"):
        RGAS(8, (2, 2), relation=False, vision=False)


@pytest.mark.parametrize("kind", [RGAS, RGAC, RGASC, RGACS, RGAParallel])
def test_a_zero_last_weight_begins_with_gates_of_one_half_and_learns(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    block = kind(16, (4, 2), zero_init_last=True).double()
    x = torch.randn(8, 16, 4, 2, dtype=torch.float64)
    branches = 1 if kind in (RGAS, RGAC) else 2
    torch.testing.assert_close(block.gate(x), torch.full_like(block.gate(x), 0.5**branches))
    optimizer = torch.optim.SGD(block.parameters(), lr=1e-3)
    for _ in range(2):  # the first step moves the last weight alone
        before = {name: parameter.clone() for name, parameter in block.named_parameters()}
        optimizer.zero_grad()
        block(x).square()[:4].sum().backward()
        optimizer.step()
    assert all(not torch.equal(before[name], parameter) for name, parameter in block.named_parameters())
