"""The heads: their forms, oracles, and the one-image batch."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from rga.heads import ASPP, PPM, Plain
from rga.paths import CONF

FILES = {path.stem: path for path in sorted((CONF / "head").glob("*.yaml"))}
CLASSES = 5

Head = Callable[..., nn.Module]


@pytest.fixture(params=FILES)
def head(request: pytest.FixtureRequest) -> Head:
    torch.manual_seed(0)
    config = OmegaConf.load(FILES[request.param])
    narrow = OmegaConf.create({"width": 8})
    partial = instantiate(OmegaConf.merge(config, narrow))
    return lambda channels=16: partial(channels, CLASSES)


def images(batch: int = 2, channels: int = 16, height: int = 9, width: int = 14) -> Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(1))


def shapes(head: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in head.named_parameters()}


def test_logits_have_the_size_of_the_features_and_all_parameters_learn(head: Head) -> None:
    network, x = head(), images().requires_grad_()
    logits = network(x)
    assert logits.shape == (2, CLASSES, 9, 14)
    logits.square().mean().backward()
    assert x.grad.abs().max() > 0
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_one_image_in_evaluation_and_a_map_smaller_than_the_bins(head: Head) -> None:
    network = head().eval()
    assert network(images(1, height=3, width=2)).isfinite().all()
    both = network(images(2))
    torch.testing.assert_close(network(images(2)[:1]), both[:1])


def test_copies(head: Head) -> None:
    network, twin = head().eval(), head().eval()
    expected = network(images())
    twin.load_state_dict(network.state_dict())
    for other in (twin, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(images()), expected)


def test_compile(head: Head) -> None:
    network = head().eval()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images()), network(images()))
    torch._dynamo.reset()


def test_bfloat16_and_channels_last(head: Head) -> None:
    network, x = head().eval(), images()
    expected = network(x)
    last = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    assert logits.dtype == torch.bfloat16
    assert (logits - expected).norm() < 0.05 * expected.norm()


def test_configs_are_the_papers() -> None:
    parts = {name: instantiate(OmegaConf.load(path)).keywords for name, path in FILES.items()}
    assert parts == {
        "plain": {"width": 512, "dropout": 0.1},
        "ppm": {"bins": [1, 2, 3, 6], "width": 512, "dropout": 0.1},
        "aspp": {"rates": [12, 24, 36], "width": 256, "dropout": 0.1},
    }


def test_plain_is_torchvisions_head_of_another_width() -> None:
    with torch.device("meta"):
        assert shapes(Plain(2048, 19)) == shapes(FCNHead(2048, 19))
        assert shapes(Plain(1024, 19, width=256)) == shapes(FCNHead(1024, 19))
        assert Plain(4096, 19)[0].weight.shape == (512, 4096, 3, 3)
    ours, theirs = Plain(16, 5, width=4).train(), FCNHead(16, 5).train()
    theirs.load_state_dict(ours.state_dict())
    torch.manual_seed(3)
    expected = theirs(images())
    torch.manual_seed(3)
    assert torch.equal(ours(images()), expected)  # the dropout is the same


def test_ppm_against_its_formula() -> None:
    head, x = PPM(16, CLASSES, width=8).eval(), images(height=12, width=12).double()
    head.double()
    maps = [x]
    for bins, level in zip((1, 2, 3, 6), head.levels, strict=True):
        convolution, norm = level[1], level[2]
        assert convolution.weight.shape == (4, 16, 1, 1)  # 16 channels // 4 bins
        assert convolution.bias is None
        side = 12 // bins
        means = x.reshape(2, 16, bins, side, bins, side).mean((3, 5))
        embedded = torch.einsum("bchw,dc->bdhw", means, convolution.weight[:, :, 0, 0]) / (1 + norm.eps) ** 0.5
        maps.append(enlarged(embedded.relu(), 12))
    torch.testing.assert_close(head(x), head.classifier(torch.cat(maps, dim=1)))
    assert shapes(head.classifier) == shapes(Plain(32, CLASSES, width=8))


def enlarged(x: Tensor, size: int) -> Tensor:
    """Bilinear, from the regions' centres, as a product of matrices."""
    bins = x.shape[2]
    place = ((torch.arange(size).double() + 0.5) * bins / size - 0.5).clamp(0, bins - 1)
    matrix = (1 - (place[:, None] - torch.arange(bins)).abs()).clamp(min=0)  # (size, bins)
    return matrix @ x @ matrix.t()


def test_aspp_is_torchvisions_without_the_convolution_in_between() -> None:
    head, other = ASPP(16, CLASSES).eval(), DeepLabHead(16, CLASSES).eval()
    head.context.load_state_dict(other[0].state_dict())
    head.classifier.load_state_dict(other[4].state_dict())
    assert torch.equal(head(images()), other[4](other[0](images())))
    convolutions = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    assert [c.dilation[0] for c in convolutions] == [1, 12, 24, 36, 1, 1, 1]
    assert [c.padding[0] for c in convolutions] == [0, 12, 24, 36, 0, 0, 0]
    assert [c.out_channels for c in convolutions] == [256] * 6 + [CLASSES]
    assert [c.bias is None for c in convolutions] == [True] * 6 + [False]
    assert [module.p for module in head.modules() if isinstance(module, nn.Dropout)] == [0.1]


@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [
        ("plain", 2048, 9 * 2048 * 512 + 2 * 512 + 512 * 19 + 19),
        ("plain", 4096, 9 * 4096 * 512 + 2 * 512 + 512 * 19 + 19),
        ("ppm", 2048, 4 * (2048 * 512 + 2 * 512) + 9 * 4096 * 512 + 2 * 512 + 512 * 19 + 19),
        ("ppm", 4096, 4 * (4096 * 1024 + 2 * 1024) + 9 * 8192 * 512 + 2 * 512 + 512 * 19 + 19),
        ("aspp", 2048, (1 + 27 + 1) * 2048 * 256 + 5 * 256 * 256 + 6 * 2 * 256 + 256 * 19 + 19),
        ("aspp", 4096, (1 + 27 + 1) * 4096 * 256 + 5 * 256 * 256 + 6 * 2 * 256 + 256 * 19 + 19),
    ],
)
def test_number_of_parameters(name: str, channels: int, parameters: int) -> None:
    with torch.device("meta"):
        head = instantiate(OmegaConf.load(FILES[name]))(channels, 19)
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters


@pytest.mark.parametrize("build", [PPM, ASPP])
def test_one_image_in_training(build: Head) -> None:
    head = build(16, CLASSES, width=8)
    with pytest.raises(ValueError, match="at least two images per device, or synchronised BatchNorm"):
        head(images(1))
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # frozen statistics
    assert head(images(1)).isfinite().all()


def test_one_image_in_training_where_nothing_is_pooled_to_one_value() -> None:
    for head in (Plain(16, CLASSES, width=8), PPM(16, CLASSES, bins=(2, 3), width=8)):
        assert head(images(1)).isfinite().all()


def test_dropout_is_of_single_values() -> None:
    torch.manual_seed(0)
    dropped = Plain(16, CLASSES)[3](torch.ones(1, 64, 32, 32)) == 0
    assert 0.09 < dropped.float().mean() < 0.11
    assert not dropped.flatten(2).all(2).any()
