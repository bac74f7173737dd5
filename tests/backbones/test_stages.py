"""`backbone=timm`: the stages that a network says it has, and what `rga backbone` tells of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from rga.attention import RGASC
from rga.backbones import timm_trunk
from rga.backbones.stages import own_stages, stage_name
from rga.bench.backbone_stages import look, text
from rga.errors import ConfigError
from rga.inspection import forward_flop
from rga.network import build, component
from rga.plugin import ChannelsLast, output_shapes
from rga.runs.compose import compose
from rga.runs.identity import fingerprint


def test_stages_are_those_of_the_configs() -> None:
    """What conf/backbone names by hand of timm's networks."""
    assert own_stages(timm.create_model("convnext_tiny")) == [f"stages.{number}" for number in range(4)]
    assert own_stages(timm.create_model("regnety_008")) == ["s1", "s2", "s3", "s4"]
    assert own_stages(timm.create_model("test_resnet")) == ["layer1", "layer2", "layer3", "layer4"]
    assert own_stages(timm.create_model("test_resnet", features_only=True)) == ["layer1", "layer2", "layer3", "layer4"]
    dilated = timm_trunk("test_resnet", output_stride=8)
    assert own_stages(dilated) == ["layer1", "layer2", "layer3", "layer4"]


def test_a_network_that_says_nothing() -> None:
    with pytest.raises(ValueError, match="does not say which modules its stages are"):
        own_stages(torchvision.models.resnet18())
    with pytest.raises(ValueError, match=r"no stage 5; the network's own are 1 \(layer1\), 2 \(layer2\)"):
        stage_name(timm.create_model("test_resnet"), 5)
    assert stage_name(torchvision.models.resnet18(), "layer2") == "layer2"


def network_of(*overrides: str) -> tuple[nn.Module, int]:
    config = compose(["backbone=timm", "backbone.weights=null", *overrides])
    return build(config["backbone"], config["attention"], config["data"]["size"])


def test_backbone_timm(cache: Path) -> None:
    network, channels = network_of("backbone.name=test_efficientnet", "attention=rga_sc")
    assert channels == 256
    behind = [name for name, module in network.named_modules() if isinstance(module, RGASC)]
    assert behind == [f"blocks.{number}.attention" for number in range(1, 5)]
    named, _ = network_of("backbone.name=test_efficientnet", "attention=rga_sc", "attention.after=[1,blocks.3]")
    assert [name for name, module in named.named_modules() if isinstance(module, RGASC)] == [
        "blocks.1.attention",
        "blocks.3.attention",
    ]


def test_numbers_beyond_the_usual_four(cache: Path) -> None:
    name = "backbone.name=convmixer_768_32"
    network, _ = network_of(name, "attention=se", "attention.after=[8,32]", "data.size=[64,64]")
    assert [path for path, _ in network.named_modules() if path.endswith(".attention")] == [
        "blocks.7.attention",
        "blocks.31.attention",
    ]
    with pytest.raises(ConfigError, match="backbone=test_resnet: there is no stage 5; the network's own are 1"):
        network_of("backbone.name=test_resnet", "attention=se", "attention.after=[5]")
    config = compose(["attention=se", "attention.after=[5]", "backbone.weights=null"])
    with pytest.raises(ConfigError, match="the backbone has the stages 1 to 4"):
        build(config["backbone"], config["attention"], config["data"]["size"])


def test_the_name_counts_and_without_one_nothing_begins(cache: Path) -> None:
    names = [
        fingerprint(compose(["backbone=timm", f"backbone.name={name}", "attention=rga_sc"]))
        for name in ("test_resnet", "test_efficientnet")
    ]
    assert len(set(names)) == 2
    with pytest.raises(ConfigError, match=r"backbone\.name has no value: give one, backbone\.name=\.\.\."):
        compose(["backbone=timm"])
    with pytest.raises(ConfigError, match="timm has no network 'resnet51'; is it res"):
        network_of("backbone.name=resnet51")


def test_an_auxiliary_head_behind_a_numbered_stage(cache: Path) -> None:
    overrides = ["experiment=cityscapes", "backbone=timm", "backbone.name=test_resnet", "task.auxiliary=0.4"]
    config = compose([*overrides, "backbone.weights=null", "data.size=[65,65]", "+backbone.trunk.output_stride=8"])
    network, channels = build(config["backbone"], config["attention"], config["data"]["size"])
    task = component(config["task"], network=network, channels=channels, optimizer=None, schedule=None)
    task.build((65, 65), torch.zeros(3, 3, dtype=torch.uint8))
    assert task.segmenter.network.layer3.attention is task.segmenter.tap


@pytest.mark.slow
def test_a_network_for_one_size(cache: Path) -> None:
    """Swin takes the size that it is built for; its channels come last."""
    name = "swin_tiny_patch4_window7_224"
    with pytest.raises(ConfigError, match=re.escape("+backbone.trunk.img_size=[256,128] may help")):
        network_of(f"backbone.name={name}", "attention=se")
    found = look(name, (96, 64))
    assert found.options == {"img_size": [96, 64]}
    assert [stage.shape for stage in found.stages] == [(96, 24, 16), (192, 12, 8), (384, 6, 4), (768, 3, 2)]
    said = text(found).splitlines()[-1].removeprefix("rga train ").split()
    config = compose([*said, "backbone.weights=null"])
    network, channels = build(config["backbone"], config["attention"], config["data"]["size"])
    assert channels == 768
    assert sum(isinstance(module, ChannelsLast) for module in network.modules()) == 4
    assert parameters(network) == found.parameters + sum(stage.parameters for stage in found.stages)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", ["test_resnet", "inception_next_atto"])
def test_costs_are_those_of_the_whole_network(name: str) -> None:
    """Counted in one piece, and stage by stage."""
    found = look(name, (96, 64))
    bare = timm_trunk(name)
    assert (parameters(bare), forward_flop(bare, (96, 64))) == (found.parameters, found.flop)
    node = {"name": name, "trunk": {"_target_": "rga.backbones.timm_trunk", "name": name}, "stages": [1, 2, 3, 4]}
    block: dict[str, Any] = {"_target_": "rga.attention.RGASC", "_partial_": True}
    network, _ = build(node, {"block": block, "after": [1, 2, 3, 4]}, (96, 64))
    assert parameters(network) == found.parameters + sum(stage.parameters for stage in found.stages)
    assert forward_flop(network, (96, 64)) == found.flop + sum(stage.flop for stage in found.stages)
    assert output_shapes(network, (96, 64))[""] == found.stages[-1].shape


def test_what_cannot_have_blocks_is_said() -> None:
    with pytest.raises(
        ConfigError, match="test_vit cannot be a trunk: VisionTransformer does not put out one feature map"
    ):
        look("test_vit")
    found = look("selecsls42", (96, 64))  # its first stages put out lists
    assert found.chosen == [4, 5]
    assert "does not put out one feature map" in text(found)


def test_weights_from_a_file_of_a_network_without_unpooled_form(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = timm.create_model("inception_next_atto").state_dict()
    torch.save(state, tmp_path / "atto.pth")
    trunk = timm_trunk("inception_next_atto", weights=tmp_path / "atto.pth")
    assert all(value.equal(state[name.removeprefix("trunk.")]) for name, value in trunk.state_dict().items())
