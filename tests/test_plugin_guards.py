"""Networks as they come: modules under two names, channels last, parts that cannot be run; and blocks that fail."""

import copy
from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from rga.attention import RGASC, SE
from rga.errors import ConfigError
from rga.network import build
from rga.plugin import ChannelsLast, output_shapes, plug

SIZE = (32, 32)


class Conv(nn.Sequential):
    """Halves the map; with or without BatchNorm, whose buffers are what an inspection may lose."""

    def __init__(self, inputs: int, outputs: int, norm: bool = True) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, 2, 1), *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU())


class Twice(nn.Module):
    """A backbone kept whole and in pieces; the forward goes by either."""

    def __init__(self, by: str, norm: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(Conv(3, 8, norm), Conv(8, 16, norm))
        self.layer1, self.layer2 = self.body
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) if self.by == "body" else self.layer2(self.layer1(x))
        return y


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("by", ["body", "pieces"])
@pytest.mark.parametrize("name", ["body.1", "layer2"])
def test_a_module_under_two_names(name: str, by: str, norm: bool) -> None:
    network = Twice(by, norm)
    before = copy.deepcopy(network.state_dict())
    assert output_shapes(network, SIZE)[name] == (16, 8, 8)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    seen: list[int] = []
    plug(network, SE, [name], SIZE)
    network.get_submodule(f"{name}.attention").register_forward_hook(lambda *_: seen.append(1))
    assert network(torch.randn(2, 3, *SIZE)).shape == (2, 16, 8, 8)
    assert seen == [1]
    assert network.body[1] is network.layer2


def test_inspection_leaves_everything_as_it_was() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.calls, self.last = Conv(3, 8), 0, torch.zeros(3)
            self.register_buffer("mean", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.calls, self.last = self.calls + 1, x
            self.mean.add_(1)
            y: Tensor = self.stem(x)
            return y

    network = Counts().train()
    network.stem[1].eval()
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    identities = {name: id(tensor) for name, tensor in network.state_dict(keep_vars=True).items()}
    assert output_shapes(network, SIZE)[""] == (8, 16, 16)
    assert (network.calls, network.last.shape, network.mean.item()) == (0, (3,), 0)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())
    assert {name: id(tensor) for name, tensor in network.state_dict(keep_vars=True).items()} == identities
    assert torch.equal(torch.get_rng_state(), random)
    assert network.training
    assert not network.stem[1].training
    assert not any(module._forward_hooks for module in network.modules())


def names(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_modules()]


def test_all_blocks_or_none() -> None:
    network = nn.Sequential(Conv(3, 8), Conv(8, 16))
    before = names(network)

    def block(channels: int, size: tuple[int, int]) -> nn.Module:
        if channels == 16:
            raise RuntimeError("no block for 16 channels")
        return SE(channels, size)

    with pytest.raises(RuntimeError, match="16 channels"):
        plug(network, block, ["0", "1"], SIZE)
    assert names(network) == before

    def second(wrong: nn.Module, channels: int, size: tuple[int, int]) -> nn.Module:
        return SE(8, size) if channels == 8 else wrong

    for wrong in (nn.Conv2d(16, 16, 3), nn.Linear(5, 5), nn.Flatten()):
        with pytest.raises(ValueError, match=r"a block keeps the shape|does not run"):
            plug(network, partial(second, wrong), ["0", "1"], SIZE)
        assert names(network) == before


def test_a_stage_has_one_block() -> None:
    network = Twice("body", True)
    before = names(network)
    for after in (["layer1", "layer1"], ["layer1", "layer2", "body.0"]):
        with pytest.raises(ValueError, match="named twice"):
            plug(network, SE, after, SIZE)
        assert names(network) == before
    plug(network, SE, ["layer1"], SIZE)
    once = names(network)
    for name in ("layer1", "body.0", "layer1.stage", "layer1.attention"):
        with pytest.raises(ValueError, match=r"has a block already: plug into a network once"):
            plug(network, SE, [name], SIZE)
        assert names(network) == once
    plug(network, SE, ["layer2", "layer1.stage.0"], SIZE)  # another stage, or one within it
    assert network(torch.randn(2, 3, *SIZE)).shape == (2, 16, 8, 8)


class Reaches(nn.Module):
    """Forwards that would not run a block just once."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.stem, self.layer = how, Conv(3, 8), nn.Conv2d(8, 8, 3, padding=1)
        self.unused = nn.Conv2d(8, 8, 1)
        self.pieces = [self.layer]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.how == "shared":
            return self.layer(self.layer(x))
        if self.how == "a list":
            return self.pieces[0](x)
        return nn.functional.conv2d(x, self.layer.weight) if self.how == "the weight" else self.layer(x)


@pytest.mark.parametrize(
    ("how", "name", "message"),
    [
        ("shared", "layer", "'layer' would be run 2 times"),
        ("a list", "layer", "'layer' would be run 0 times.*name the module that contains it"),
        ("the weight", "layer", "'layer' is a module of this network, but no forward runs it"),
        ("", "unused", "'unused' is a module of this network, but no forward runs it; there are: .*stem, layer"),
    ],
)
def test_a_block_that_the_forward_does_not_run_once(how: str, name: str, message: str) -> None:
    network = Reaches(how)
    before = names(network)
    with pytest.raises(ValueError, match=message):
        plug(network, SE, [name], SIZE)
    assert names(network) == before


LAST = {
    "swin_tiny_patch4_window7_224": ({"layers.1": (192, 28, 28), "layers.3": (768, 7, 7)}, (224, 224)),
    "mambaout_femto": ({"stages.0": (48, 16, 8), "stages.3": (288, 2, 1)}, (64, 32)),
    "volo_d1_224": ({"patch_embed": (192, 28, 28), "network.2.0": (384, 14, 14)}, (224, 224)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAST)
def test_channels_last(name: str) -> None:
    """Against the network as it was, and the block by hand on the permuted features of its stages."""
    stages, size = LAST[name]
    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    plain, x = copy.deepcopy(network), torch.randn(1, 3, *size)
    plug(network, SE, stages, size)
    for stage, (channels, _, _) in stages.items():
        attention = network.get_submodule(f"{stage}.attention")
        first = isinstance(attention, SE)  # VOLO's stem puts its channels first
        assert first == (stage == "patch_embed")
        block = attention if first else attention.block
        assert block.fc1.in_channels == channels

        def by_hand(module: nn.Module, args: Any, y: Tensor, block: Any = block, first: bool = first) -> Tensor:
            return y * (block.gate(y) if first else block.gate(y.movedim(3, 1)).movedim(1, 3))

        plain.get_submodule(stage).register_forward_hook(by_hand)
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain(x), rtol=1e-4, atol=1e-5)


def test_rga_behind_channels_last() -> None:
    network = plug(timm.create_model("mambaout_femto"), RGASC, ["stages.1"], (64, 32))
    attention = network.stages[1].attention
    assert isinstance(attention, ChannelsLast)
    assert (attention.block.spatial.channels, attention.block.spatial.size) == (96, (8, 4))
    network(torch.randn(2, 3, 64, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in attention.parameters())


def test_a_trunk_with_channels_last_puts_them_first() -> None:
    node = {"_target_": "rga.backbones.timm_trunk", "name": "mambaout_femto"}
    backbone = {"name": "mambaout_femto", "trunk": node, "stages": ["stages.0", "stages.1", "stages.2", "stages.3"]}
    block = {"_target_": "rga.attention.RGASC", "_partial_": True}
    network, channels = build(backbone, {"block": block, "after": [2, 4]}, (64, 32))
    assert channels == 1152  # of the hidden layer before the classifier, which timm leaves there
    assert network(torch.randn(2, 3, 64, 32)).shape == (2, 1152, 2, 1)
    assert network.trunk.stages[3].attention.block.channel.channels == 288


def test_channels_that_cannot_be_told() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 4, 4)

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2:] == (32, 32)
            y: Tensor = self.embed(x)
            return y

    with pytest.raises(ValueError, match=r"'embed' puts out \(8, 8, 8\), which does not tell"):
        plug(nn.Sequential(Fixed()).get_submodule("0"), SE, ["embed"], SIZE)


def test_detectors_as_a_whole() -> None:
    network = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    with pytest.raises(ValueError, match=r"FasterRCNN cannot be run .*plug\(network.backbone, "):
        plug(network, SE, ["backbone.body.layer2"], (64, 64))
    plug(network.backbone, SE, ["body.layer2"], (64, 64))
    assert isinstance(network.backbone.body["layer2"].attention, SE)


def test_lazy_layers_and_control_flow() -> None:
    with pytest.raises(ValueError, match=r"layers without weights yet \(0\): run it once on a batch"):
        plug(nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU()), SE, ["0"], SIZE)

    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(Conv(3, 8), Conv(8, 16))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.backbone(x)
            return y if y.sum() > 0 else -y

    network = Decides()
    with pytest.raises(ValueError, match=r"Decides cannot be run .*plug\(network.backbone, \.\.\.\), with .* 0, 1"):
        plug(network, SE, ["backbone.0"], SIZE)
    plug(network.backbone, SE, ["0"], SIZE)


def test_stems_that_are_no_plain_convolution() -> None:
    """Space to depth: the first convolution takes 48 channels, the images have 3."""
    network = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, 8, 3, padding=1))
    assert output_shapes(network, SIZE)["1"] == (8, 8, 8)
    patches = timm.create_model("mixer_s32_224")
    with pytest.raises(ValueError, match="one feature map"):
        plug(patches, SE, ["blocks.0"], (224, 224))
    with pytest.raises(ValueError, match=r"cannot be run on an image of 100 x 224 .*its backbone|plug\(network"):
        output_shapes(patches, (100, 224))


@pytest.mark.parametrize("size", [64, "64", (64,), (64, 32, 3), (0, 32), (64.5, 32), None])
def test_the_size_is_height_and_width(size: Any) -> None:
    with pytest.raises(ValueError, match="input_size is \\(height, width\\)"):
        plug(nn.Sequential(Conv(3, 8)), SE, ["0"], size)


def test_a_name_alone_is_no_list() -> None:
    with pytest.raises(ValueError, match=r"write \['layer2'\]"):
        plug(Twice("body", True), SE, "layer2", SIZE)
    with pytest.raises(ConfigError, match=r"attention.after=\[layer2\]"):
        build({"stages": []}, {"after": "layer2"}, SIZE)


def test_names_with_more_dots() -> None:
    network = nn.Sequential()
    network.model = nn.Sequential()
    network.model.backbone = timm.create_model("resnet18", num_classes=0, global_pool="")
    with pytest.raises(ValueError, match=r"no stage named 'layer2'; there are: model\.backbone\.layer2, "):
        plug(network, SE, ["layer2"], SIZE)
    with pytest.raises(ValueError, match=r"'model.backbone.layer1.0.conv9'; there are: model.backbone.layer1.0.conv1,"):
        plug(network, SE, ["model.backbone.layer1.0.conv9"], SIZE)
    plug(network, SE, ["model.backbone.layer1.0.conv1"], SIZE)
    assert isinstance(network.model.backbone.layer1[0].conv1.attention, SE)


ONE = nn.Identity()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (SE(3, (8, 8)), r"block is called as block\(channels, \(height, width\)\): give its class"),
        (lambda *_: None, "block gives None, not a module, for the stage '0'"),
        (lambda *_: ONE, "block gives one module for several stages, '1' among them"),
    ],
)
def test_what_is_no_block(block: Any, message: str) -> None:
    network = nn.Sequential(Conv(3, 8), Conv(8, 8))
    with pytest.raises(ValueError, match=message):
        plug(network, block, ["0", "1"], SIZE)
    assert isinstance(network[0], Conv)


def test_a_block_behind_a_stage_without_parameters_is_where_the_network_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2)).to(torch.bfloat16)
    plug(network, SE, ["1"], SIZE)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}


def test_hooks_of_the_user_are_not_asked() -> None:
    """They may read values, and a shape is found without computing any."""
    network, seen = nn.Sequential(Conv(3, 8)), []
    network[0].register_forward_hook(lambda module, args, output: seen.append(float(output.sum())))
    plug(network, SE, ["0"], SIZE)
    assert not seen
    network(torch.rand(1, 3, *SIZE))
    assert len(seen) == 1
