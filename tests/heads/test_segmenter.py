"""Trunk, attention beside the features, head, auxiliary head: what goes where, and where the logits lie."""

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rga.attention import RGASC, SE, AnySize
from rga.backbones import torchvision_trunk
from rga.heads import ASPP, Plain, Segmenter
from rga.plugin import plug

CLASSES = 5
SIZE = (65, 97)
NARROW = partial(Plain, width=8)


def trunk() -> nn.Module:
    torch.manual_seed(0)
    options: dict[str, Any] = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 24], "num_classes": 0, "global_pool": ""}
    return timm.create_model("resnet18", output_stride=8, **options)


def images(batch: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def build(**options: Any) -> Segmenter:
    return Segmenter(trunk(), SIZE, CLASSES, NARROW, **options)


EVERYTHING: dict[str, Any] = {"block": partial(AnySize, block=RGASC), "auxiliary": ("layer3", NARROW)}


class Seen(nn.Module):
    """A head, or a block, that remembers what it was built for and what it was given."""

    def __init__(self, channels: int, other: Any) -> None:
        super().__init__()
        self.built = channels, other

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return 2 * x if isinstance(self.built[1], tuple) else x[:, : self.built[1]]


def test_the_head_sees_the_features_and_beside_them_the_blocks_result() -> None:
    network = Segmenter(trunk(), SIZE, CLASSES, Seen, block=Seen).eval()
    network(images())
    features = trunk().eval()(images())
    assert features.shape == (2, 24, 9, 13)
    assert network.attention.built == (24, (9, 13))
    assert network.head.built == (48, CLASSES)
    assert torch.equal(network.head.x, torch.cat([features, 2 * features], dim=1))


def test_without_a_block_the_head_sees_the_features() -> None:
    network = Segmenter(trunk(), SIZE, CLASSES, Seen).eval()
    network(images())
    assert network.head.built == (24, CLASSES)
    assert torch.equal(network.head.x, trunk().eval()(images()))


def test_logits_of_any_image() -> None:
    network = build(**EVERYTHING).eval()
    for size in (SIZE, (64, 96), (33, 70), (130, 50)):
        assert network(images(1, size)).shape == (1, CLASSES, *size)


def test_the_auxiliary_logits_are_those_of_the_stage_in_training_only() -> None:
    network = build(auxiliary=("layer3", NARROW))
    logits, auxiliary = network(images())
    assert logits.shape == auxiliary.shape == (2, CLASSES, *SIZE)
    assert isinstance(network.eval()(images()), Tensor)

    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    network = Segmenter(trunk(), SIZE, 16, lambda *_: Same(), auxiliary=("layer3", lambda *_: Same())).train()
    plain, x = trunk().train(), images()
    _, auxiliary = network(x)
    for name in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3"):
        x = plain.get_submodule(name)(x)
    assert torch.equal(auxiliary[:, :, ::8, ::8], x)


def test_the_auxiliary_loss_trains_the_stages_before_it_and_not_those_behind() -> None:
    network = build(auxiliary=("layer3", NARROW))
    network(images())[1].square().mean().backward()
    touched = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert any(name.startswith("network.layer3.") for name in touched)
    assert {name.partition(".")[0] for name in touched} == {"network", "auxiliary"}
    assert not any("layer4" in name for name in touched)


def test_all_parameters_learn() -> None:
    network = build(**EVERYTHING)
    logits, auxiliary = network(images())
    (logits.square().mean() + auxiliary.square().mean()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("size", [(65, 97), (64, 96), (67, 101), (72, 104)])
def test_logits_lie_on_the_pixels_that_the_features_lie_on(size: tuple[int, int]) -> None:
    """A linear ramp, sampled at every eighth pixel as the trunk does, comes back as the ramp at every image size."""

    class Sample(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, ::8, ::8]

    network = Segmenter(Sample(), SIZE, 2, lambda *_: nn.Identity())
    assert network.stride == (8, 8)
    y, x = torch.meshgrid(torch.arange(size[0]).double(), torch.arange(size[1]).double(), indexing="ij")
    ramp = torch.stack([x + 2 * y, x - y, x * 0]).unsqueeze(0)
    inside = (size[0] - 1) // 8 * 8 + 1, (size[1] - 1) // 8 * 8 + 1  # beyond the last feature there is nothing to know
    logits = network(ramp)
    torch.testing.assert_close(logits[:, :, : inside[0], : inside[1]], ramp[:, :, : inside[0], : inside[1]])
    assert torch.equal(logits[:, :, -1, 0], logits[:, :, inside[0] - 1, 0])
    if size == SIZE:  # 8 n + 1, the field's sizes
        expected = nn.functional.interpolate(ramp[:, :, ::8, ::8], size, mode="bilinear", align_corners=True)
        torch.testing.assert_close(logits, expected)


def sampler(halvings: tuple[int, int]) -> nn.Module:
    """A trunk of 3x3 convolutions that hand the middle on, of stride 2 as often as is said, down and across."""
    trunk = nn.Sequential()
    for step in range(max(halvings)):
        stride = (2 if step < halvings[0] else 1, 2 if step < halvings[1] else 1)
        convolution = nn.Conv2d(3, 3, 3, stride, padding=1, groups=3, bias=False)
        nn.init.zeros_(convolution.weight)
        nn.init.ones_(convolution.weight[:, :, 1, 1])
        trunk.append(convolution)
    return trunk


def check_ramp(network: Segmenter, size: tuple[int, int], stride: tuple[int, int]) -> None:
    """The logits of an image that is a ramp are the ramp, up to the last feature, and repeated beyond it."""
    y, x = torch.meshgrid(torch.arange(size[0]).float(), torch.arange(size[1]).float(), indexing="ij")
    last = [(length - 1) // step * step for length, step in zip(size, stride, strict=True)]
    with torch.no_grad():
        logits = network.eval()(torch.stack([x, y, x * 0]).unsqueeze(0))
    expected = torch.stack([x.clamp(max=last[1]), y.clamp(max=last[0]), x * 0]).unsqueeze(0)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("halvings", [3, 4, 5])
def test_the_stride_is_the_networks_for_every_crop(halvings: int) -> None:
    """The crop says nothing of the stride: 33 pixels at stride 32 have two features, as many as at stride 17 to 32."""
    stride = 2**halvings
    for side in range(33 if halvings == 5 else stride + 1, 130):
        size = (side, 162 - side)
        network = Segmenter(sampler((halvings, halvings)), size, 3, lambda *_: nn.Identity())
        assert network.stride == (stride, stride), size
        check_ramp(network, size, (stride, stride))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    crop=st.tuples(st.integers(1, 140), st.integers(1, 140)),
    size=st.tuples(st.integers(1, 140), st.integers(1, 140)),
    halvings=st.tuples(st.integers(0, 5), st.integers(0, 5)),
)
def test_any_crop_any_image_any_stride(crop: tuple[int, int], size: tuple[int, int], halvings: tuple[int, int]) -> None:
    stride = (2 ** halvings[0], 2 ** halvings[1])
    network = Segmenter(sampler(halvings), crop, 3, lambda *_: nn.Identity())
    assert network.stride == stride
    check_ramp(network, size, stride)


def test_a_stage_of_another_stride_than_the_networks() -> None:
    network = Segmenter(
        sampler((4, 3)), (40, 50), 3, lambda *_: nn.Identity(), auxiliary=("1", lambda *_: nn.Identity())
    )
    assert (network.stride, network.auxiliary_stride) == ((16, 8), (4, 4))
    y, x = torch.meshgrid(torch.arange(49.0), torch.arange(57.0), indexing="ij")
    images = torch.stack([x, y, x * 0]).unsqueeze(0)
    for logits in network.train()(images):
        torch.testing.assert_close(logits, images)


def test_an_auxiliary_head_behind_a_stage_that_has_a_block() -> None:
    network = plug(trunk(), RGASC, ["layer3"], SIZE)
    both = Segmenter(network, SIZE, CLASSES, NARROW, auxiliary=("layer3", NARROW))
    assert both.stride == both.auxiliary_stride == (8, 8)
    assert isinstance(both.network.layer3.stage.attention, RGASC)
    logits, auxiliary = both(images())
    assert logits.shape == auxiliary.shape == (2, CLASSES, *SIZE)


def test_networks_without_a_stride() -> None:
    with pytest.raises(ValueError, match=r"puts out \(8, 7, 7\) for .*more each way: expected"):
        Segmenter(nn.Sequential(nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(7)), SIZE, CLASSES, NARROW)

    class Fixed(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2:] == SIZE
            return super().forward(x)

    with pytest.raises(ValueError, match="takes images of any size"):
        Segmenter(Fixed(3, 8, 1), SIZE, CLASSES, NARROW)


def test_odd_kernels_put_features_on_every_eighth_pixel() -> None:
    """What the enlargement relies on: the gradient of a feature is centred at its pixel."""
    network = torchvision_trunk("resnet18", output_stride=8).eval()
    network.maxpool = nn.AvgPool2d(3, 2, 1)  # without the ties of a constant image
    for convolution in network.modules():
        if isinstance(convolution, nn.Conv2d):
            nn.init.constant_(convolution.weight, 1 / convolution.weight[0].numel())
    x = torch.ones(1, 3, 129, 129).requires_grad_()
    network(x)[0, :, 8, 8].sum().backward()
    profile = x.grad.sum((0, 1, 2)).double()
    assert (profile * torch.arange(129)).sum() / profile.sum() == pytest.approx(64, abs=0.01)


def test_copies_between_steps() -> None:
    network = build(**EVERYTHING)
    network(images())  # in training, with a graph behind it
    network.eval()
    expected = network(images())
    twin = build(**EVERYTHING).eval()
    twin.load_state_dict(network.state_dict())
    for other in (twin, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(images()), expected)
        with torch.no_grad():
            next(other.network.parameters()).zero_()
    assert torch.equal(network(images()), expected)


@pytest.mark.parametrize("whole", [True, False])
def test_compile(whole: bool) -> None:
    network = build(block=SE, auxiliary=("layer3", partial(NARROW, dropout=0.0)))
    network.head[3].p = 0.0
    expected = copy.deepcopy(network)(images())
    compiled = network if whole else network.network  # as the trainer does, in place
    compiled.compile(fullgraph=True, backend="eager", dynamic=False)
    result = network(images())
    torch.testing.assert_close(result, expected)
    result[1].sum().backward()
    assert next(network.network.parameters()).grad.abs().max() > 0
    torch._dynamo.reset()


def test_autocast_and_channels_last() -> None:
    network = build(**EVERYTHING).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits, auxiliary = network(images().to(memory_format=torch.channels_last))
    (logits.float().mean() + auxiliary.float().mean()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_torchvisions_trunk_with_an_auxiliary_stage_inside_a_stage() -> None:
    network = Segmenter(
        torchvision_trunk("mobilenet_v2", output_stride=16), (65, 65), CLASSES, partial(ASPP, rates=(1, 2, 3), width=8),
        block=partial(AnySize, block=SE), auxiliary=("features.13", NARROW),
    )  # fmt: skip
    logits, auxiliary = network(images(2, (65, 65)))
    assert logits.shape == auxiliary.shape == (2, CLASSES, 65, 65)
    assert network.stride == network.auxiliary_stride == (16, 16)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"no stage named 'layer9'.*layer4"):
        build(auxiliary=("layer9", NARROW))
    with pytest.raises(ValueError, match="one feature map"):
        Segmenter(timm.create_model("resnet18"), SIZE, CLASSES, NARROW)
    with pytest.raises(ValueError, match=r"9, 13.*17, 13"):
        build(block=RGASC).eval()(images(1, (129, 97)))


@pytest.mark.parametrize(("kernel", "told"), [(3, False), (4, True)])
def test_patches_are_told(kernel: int, told: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Their features lie between the pixels on which the logits are put."""
    network = nn.Sequential(nn.Conv2d(3, 8, kernel, stride=4, padding=kernel % 2))
    Segmenter(network, SIZE, CLASSES, NARROW)
    assert ("0: kernels of even size put features half a stride beside the pixels" in caplog.text) == told
