"""The plugin on the networks the project shows it on, and its errors."""

import copy
import pickle

import pytest
import timm
import torch
import torchvision
from torch import nn

from rga.attention import RGASC
from rga.plugin import output_shapes, plug

SIZE = (64, 32)
NETWORKS = {
    "torchvision resnet50": (
        lambda: torchvision.models.resnet50(),
        {"layer1": (256, 16, 8), "layer2": (512, 8, 4), "layer3": (1024, 4, 2), "layer4": (2048, 2, 1)},
    ),
    "torchvision mobilenet_v2": (
        lambda: torchvision.models.mobilenet_v2(),
        {"features.3": (24, 16, 8), "features.6": (32, 8, 4), "features.13": (96, 4, 2), "features.17": (320, 2, 1)},
    ),
    "timm convnext_tiny": (
        lambda: timm.create_model("convnext_tiny"),
        {"stages.0": (96, 16, 8), "stages.1": (192, 8, 4), "stages.2": (384, 4, 2), "stages.3": (768, 2, 1)},
    ),
    "timm regnety_008": (
        lambda: timm.create_model("regnety_008"),
        {"s1": (64, 16, 8), "s2": (128, 8, 4), "s3": (320, 4, 2), "s4": (768, 2, 1)},
    ),
    "timm regnetx_002, one channel": (lambda: timm.create_model("regnetx_002", in_chans=1), {"s2": (56, 8, 4)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    build, stages = NETWORKS[name]
    torch.manual_seed(0)
    network = build()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert plug(network, RGASC, stages, SIZE) is network
    for stage, (channels, *size) in stages.items():
        attention = network.get_submodule(f"{stage}.attention")
        assert (attention.spatial.channels, attention.spatial.size) == (channels, tuple(size))
    assert sum(parameter.numel() for parameter in network.parameters()) > parameters
    x = torch.randn(2, 1 if "one channel" in name else 3, *SIZE)
    y = network(x)
    assert y.shape == (2, 1000)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    for stage in stages:
        gradients = [p.grad for n, p in network.get_submodule(f"{stage}.attention").named_parameters() if "embed" in n]
        assert gradients
        assert all(gradient.isfinite().all() for gradient in gradients)


def small() -> nn.Module:
    return timm.create_model("resnet18", layers=[1, 1, 1, 1], channels=[8, 16, 16, 24], num_classes=5)


def test_weights_statistics_and_modes_are_left_alone() -> None:
    network = small().train()
    network.layer1.eval()
    network.layer2.double()
    state = copy.deepcopy(network.state_dict())
    modes = {name: module.training for name, module in network.named_modules()}
    network.layer2.float()
    plug(network, RGASC, ["layer1", "layer3"], SIZE)
    after = {name.replace(".stage.", "."): value for name, value in network.state_dict().items()}
    assert all(torch.equal(after[name].to(value.dtype), value) for name, value in state.items())
    assert not any(tensor.is_meta for tensor in network.state_dict().values())
    now = {name.replace(".stage", ""): module.training for name, module in network.named_modules() if name != "layer1"}
    assert {name: now[name] for name in modes if name != "layer1"} == {n: m for n, m in modes.items() if n != "layer1"}
    assert not any(module.training for module in network.layer1.attention.modules())
    assert all(module.training for module in network.layer3.attention.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_block_has_the_number_format_of_its_stage() -> None:
    network = plug(small().double(), RGASC, ["layer2"], SIZE)
    assert network(torch.randn(2, 3, *SIZE, dtype=torch.double)).dtype == torch.double


def test_without_a_block_nothing_changes() -> None:
    network = small()
    names = [name for name, _ in network.named_modules()]
    assert [n for n, _ in plug(plug(network, None, ["layer1"], SIZE), RGASC, [], SIZE).named_modules()] == names


def test_stage_inside_a_stage() -> None:
    network = plug(small(), RGASC, ["layer1", "layer1.0"], SIZE)
    assert isinstance(network.get_submodule("layer1.stage.0.attention"), RGASC)
    assert network(torch.randn(2, 3, *SIZE)).shape == (2, 5)


def test_unknown_stage_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"layer7.*layer1, .*layer4") as error:
        plug(small(), RGASC, ["layer7"], SIZE)
    assert "fc" not in str(error.value)


def test_stage_without_a_feature_map() -> None:
    with pytest.raises(ValueError, match=r"'fc' does not put out one feature map"):
        plug(small(), RGASC, ["fc"], SIZE)


def test_nothing_is_plugged_when_a_name_is_wrong() -> None:
    network = small()
    with pytest.raises(ValueError, match="layer7"):
        plug(network, RGASC, ["layer1", "layer7"], SIZE)
    assert isinstance(network.layer1[0], nn.Module)
    assert not hasattr(network.layer1, "attention")


@pytest.mark.slow
def test_copy_pickle_compile_and_export() -> None:
    network, x = plug(small(), RGASC, ["layer1", "layer4"], SIZE).eval(), torch.randn(2, 3, *SIZE)
    y = network(x)
    assert torch.equal(copy.deepcopy(network)(x), y)
    assert torch.equal(pickle.loads(pickle.dumps(network))(x), y)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), y)
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), y)


def test_shapes_cost_no_memory_and_no_computation() -> None:
    shapes = output_shapes(small(), (4096, 4096))
    assert shapes["layer4"] == (24, 128, 128)
    assert shapes[""] is None
