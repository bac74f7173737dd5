"""RGA in training as one function: the modules' numbers, where it stands in for them, and where it does not."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

from rga.attention import RGAC, RGACS, RGAS, RGASC, RGAParallel, fused, fused_branch, moments
from rga.bench.operations import Operations

CHANNELS, SIZE = 32, (6, 4)
KINDS = [RGAS, RGAC, RGASC, RGACS, RGAParallel]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def build(kind: Callable[..., nn.Module], **options: Any) -> nn.Module:
    torch.manual_seed(0)
    block = kind(CHANNELS, SIZE, **{"reduction": 4, "squeeze": 2, **options}).double()
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):  # weights of both signs
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return block


def images(batch: int = 3, **options: Any) -> Tensor:
    return torch.randn(
        batch, CHANNELS, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.double, **options
    )


def results(block: nn.Module, x: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = block(x)
    y.backward(cotangent)
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in block.named_parameters()}
    return {"y": y, "gradient of x": x.grad, **gradients, **block.state_dict()}


def by_modules(block: nn.Module, monkeypatch: pytest.MonkeyPatch, *arguments: Tensor) -> dict[str, Tensor]:
    with monkeypatch.context() as context:
        context.setattr(fused, "fits", lambda x, block: False)
        return results(block, *arguments)


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-11, atol=1e-11, msg=partial("{}: {}".format, name))


@pytest.mark.parametrize("by_moments", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_modules(
    kind: type[nn.Module], layout: torch.memory_format, by_moments: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_branch, "_by_moments", lambda attention: by_moments)
    block = build(kind).to(memory_format=layout)
    x = images().to(memory_format=layout)
    twin, cotangent = copy.deepcopy(block), torch.randn_like(x)
    assert fused.fits(x, block)
    found = results(block, x, cotangent)
    assert found["y"].is_contiguous(memory_format=layout)
    assert found["gradient of x"].is_contiguous(memory_format=layout)
    assert_equal(found, by_modules(twin, monkeypatch, x, cotangent))


@pytest.mark.parametrize(("kind", "own"), [(RGAC, torch.contiguous_format), (RGAS, torch.channels_last)])
def test_the_map_is_read_once_where_a_weight_scales_a_row(kind: type[nn.Module], own: torch.memory_format) -> None:
    """Both gradients of the product come from one reading: three passes over the map less."""
    found = {}
    for layout in LAYOUTS:
        block, x = build(kind), images().to(memory_format=layout).requires_grad_()
        y = block(x)
        with Operations() as operations:
            y.backward(torch.ones_like(x))
        found[layout] = operations.bytes
    (other,) = (layout for layout in LAYOUTS if layout != own)
    assert 2.5 < (found[other] - found[own]) / (x.numel() * x.element_size()) < 3.5


@pytest.mark.parametrize("kind", KINDS)
def test_maps_and_gradients_in_unusual_places(kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """A map with the width before the height in memory, a slice of a larger one, and a gradient that is expanded."""
    block = build(kind)
    turned = images().transpose(2, 3).contiguous().transpose(2, 3)
    sliced = torch.cat([images(), images()], 1)[:, 5 : 5 + CHANNELS]
    for x in (turned, sliced):
        for cotangent in (torch.ones((), dtype=torch.double).expand(x.shape), turned.flip(0)):
            twin = copy.deepcopy(block)
            mine = copy.deepcopy(block)
            assert_equal(results(mine, x, cotangent), by_modules(twin, monkeypatch, x, cotangent))


def test_the_gradient_of_a_gate_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (RGAS, RGAC):
        block, x = build(kind), images().requires_grad_()
        twin = copy.deepcopy(block)
        gradients = []
        for one, stand_in in ((block, True), (twin, False)):
            with monkeypatch.context() as context:
                if not stand_in:
                    context.setattr(fused, "fits", lambda x, block: False)
                gate = one.gate(x)
            gradients.append(torch.autograd.grad(gate.square().sum(), [x, *one.parameters()]))
        for found, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_several_backwards_of_one_forward() -> None:
    block, x = build(RGASC), images().requires_grad_()
    y = block(x)
    first, second = (torch.autograd.grad(y, [x, *block.parameters()], images(), retain_graph=True) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("by_moments", [False, True])
@pytest.mark.parametrize("features", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [RGAS, RGAC])
def test_autocast(
    kind: type[nn.Module], features: torch.dtype, by_moments: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About as far from double precision as the modules are; who rounds more luckily differs from case to case."""
    monkeypatch.setattr(fused_branch, "_by_moments", lambda attention: by_moments)
    block, errors = build(kind), torch.zeros(2, 4)
    for case in range(4):
        generator = torch.Generator().manual_seed(case)
        x = torch.randn(8, CHANNELS, *SIZE, generator=generator).to(features)
        exact = results(copy.deepcopy(block), x.double(), cotangent := images(8))
        names = [name for name in exact if exact[name].is_floating_point()]
        for index in range(2):
            twin = copy.deepcopy(block).float()
            with torch.autocast("cpu", torch.bfloat16):
                arguments = x, cotangent.to(features)
                found = by_modules(twin, monkeypatch, *arguments) if index else results(twin, *arguments)
            assert found["y"].dtype == found["gradient of x"].dtype == features
            assert all(parameter.grad.dtype == torch.float32 for parameter in twin.parameters())
            relative = [(found[name].double() - exact[name]).norm() / exact[name].norm() for name in names]
            errors[index, case] = torch.stack(relative).mean()
    assert errors[0].mean() < 2 * errors[1].mean()


def test_moments_of_products() -> None:
    """Against BatchNorm of the product itself, also where the means are far larger than the deviations."""
    torch.manual_seed(0)
    pair, mixed = torch.rand(3, 4, 50, dtype=torch.double) + 30, torch.randn(3, 4, 9, dtype=torch.double)
    norm = nn.BatchNorm2d(9).double()
    twin = copy.deepcopy(norm)
    out = torch.empty(3, 50, 9, dtype=torch.double)
    with torch.no_grad():
        moments.normalise(pair, mixed, norm, out)
    expected = twin((pair.transpose(1, 2) @ mixed).transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(norm.running_mean, twin.running_mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm.running_var, twin.running_var, rtol=1e-9, atol=1e-9)


def test_where_moments_pay() -> None:
    """At the first stage of the CIFAR networks; not at the stages of a ResNet-50, where products are narrower."""
    assert fused_branch._by_moments(RGAS(16, (32, 32), reduction=4, squeeze=4).attention)
    for channels, size in ((256, (64, 32)), (512, (32, 16)), (1024, (16, 8)), (2048, (16, 8))):
        block = RGASC(channels, size)
        assert not fused_branch._by_moments(block.spatial.attention)
        assert not fused_branch._by_moments(block.channel.attention)


def frozen(block: nn.Module) -> None:
    next(module for module in block.modules() if isinstance(module, nn.BatchNorm2d)).eval()


def cumulative(block: nn.Module) -> None:
    next(module for module in block.modules() if isinstance(module, nn.BatchNorm2d)).momentum = None


def hooked(block: nn.Module) -> None:
    list(block.modules())[2].register_forward_hook(lambda module, arguments, y: None)


@pytest.mark.parametrize(
    "change", [nn.Module.eval, frozen, cumulative, hooked, nn.SyncBatchNorm.convert_sync_batchnorm]
)
def test_where_the_modules_run(change: Callable[[nn.Module], Any]) -> None:
    block = RGASC(CHANNELS, SIZE)
    assert fused.fits(images(), block)
    changed = change(block)
    assert not fused.fits(images(), changed if isinstance(changed, nn.Module) else block)


def test_nor_without_gradients_in_half_precision_or_for_one_value() -> None:
    block, x = RGAC(CHANNELS, SIZE), images()
    with torch.no_grad():
        assert not fused.fits(x, block)
    assert not fused.fits(x.half(), block)
    with torch.autocast("cpu", torch.float16):
        assert not fused.fits(x.float(), block)
    assert not fused.fits(x[:1, :1], block)
    assert not fused.fits(x, RGAS(CHANNELS, SIZE, relation=False))
    assert not fused.fits(x, RGAS(CHANNELS, SIZE, vision=False))


def test_torch_func_differentiates_the_modules() -> None:
    block, x = build(RGASC), images()
    parameters = {name: parameter.detach() for name, parameter in block.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in block.named_buffers()}

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(block, (parameters, buffers), (x,)).square().sum()

    found = torch.func.grad(loss)(parameters, buffers)
    block(x).square().sum().backward()
    for name, parameter in block.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-10, atol=1e-10)


def test_batches_are_counted_when_a_state_is_read_or_loaded() -> None:
    block = build(RGASC)
    for _ in range(3):
        block(images())
    state = block.state_dict()
    counters = [tensor for name, tensor in state.items() if name.endswith("num_batches_tracked")]
    assert [tensor.item() for tensor in counters] == [3] * 8
    state = {name: tensor.clone() for name, tensor in state.items()}
    block(images())
    block.load_state_dict(state)
    block(images())
    assert block.state_dict()["spatial.attention.relate_bn.num_batches_tracked"] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_of_other_parameters(kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """As in meta-learning: those of the forward, not the module's own; nor is its later mode the forward's."""

    def found(block: nn.Module) -> list[torch.Tensor]:
        torch.manual_seed(1)
        fast = {
            name: (parameter.detach() + 0.3 * torch.randn_like(parameter)).requires_grad_()
            for name, parameter in block.named_parameters()
        }
        y = torch.func.functional_call(block, fast, (images(),))
        block.eval()
        first = torch.autograd.grad(y.square().sum(), list(fast.values()), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), list(fast.values()))
        assert not any(module.training for module in block.modules())
        return [*first, *second]

    block = build(kind)
    ours = found(copy.deepcopy(block))
    monkeypatch.setattr(fused, "fits", lambda x, block: False)
    expected = found(block.train())
    rounding = 1e-12 * max(float(tensor.abs().max()) for tensor in expected)  # some are 0 but for it
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=rounding)


def test_a_parametrized_layer_has_its_gradients() -> None:
    block = build(KINDS[0])
    weight_norm(block.get_submodule("attention.embed"))
    penalty = torch.autograd.grad(block(images()).square().sum(), list(block.parameters()), create_graph=True)
    assert all(gradient.abs().sum() > 0 for gradient in penalty)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind: type[nn.Module], frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a penalty on the gradient, as R1 has it; the statistics of the batch count once."""

    def penalised(block: nn.Module) -> dict[str, Any]:
        x, scale = images(requires_grad=True), torch.linspace(0.5, 2, CHANNELS, dtype=torch.double, requires_grad=True)
        y = block(x * scale[:, None, None])
        (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (y.mean() + gradient.square().sum()).backward()
        found = {name: parameter.grad for name, parameter in block.named_parameters() if parameter.requires_grad}
        return {"x": x.grad, "scale": scale.grad, **found, **dict(block.named_buffers())}

    block = build(kind)
    if frozen:
        for parameter in list(block.parameters())[::2]:
            parameter.requires_grad_(False)
    ours = penalised(copy.deepcopy(block))
    monkeypatch.setattr(fused, "fits", lambda x, block: False)
    expected = penalised(block)
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(ours[name], tensor, rtol=1e-9, atol=1e-9, msg=partial("{}: {}".format, name))


def test_another_norm_or_layer_in_the_place_of_one() -> None:
    """As frozen BatchNorms and LoRA put them there."""

    class Adapted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    block = build(RGAS).train()
    block.attention.relate_bn = nn.InstanceNorm2d(block.attention.relate_bn.num_features, affine=True).double()
    assert not fused.fits(images(), block)
    block = build(RGAS).train()
    block.attention.embed = Adapted(CHANNELS, block.attention.embed.out_features, bias=False).double()
    assert not fused.fits(images(), block)
    for mode in (True, False):
        with pytest.raises(TypeError, match="never calls them, so that Adapted in the place of one"):
            block.train(mode)(images())
    block = build(RGAS).train()
    prune.l1_unstructured(block.attention.embed, "weight", amount=0.5)
    with pytest.raises(TypeError, match=r"prune\.remove"):
        block(images())
    prune.remove(block.attention.embed, "weight")
    assert block(images()).isfinite().all()
