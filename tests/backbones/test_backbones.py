"""Trunks, their weights from files and downloads, and the configs of conf/backbone."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import hydra
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

import rga.backbones
from rga.backbones import timm_trunk, torchvision_trunk
from rga.paths import CONF
from rga.plugin import output_shapes
from rga.runs.compose import compose


@pytest.fixture(scope="module")
def resnet18() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: value.clone() for name, value in torchvision.models.resnet18().state_dict().items()}


def same(trunk: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in trunk.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({path.stem for path in (CONF / "backbone").glob("*.yaml")} - {"timm"}))
def test_configs(name: str, cache: Path) -> None:
    config = compose([f"backbone={name}"])["backbone"]
    assert config["name"].startswith(name.removeprefix("cifar_"))
    options = {**config["trunk"], **({"weights": None} if "weights" in config["trunk"] else {})}
    options.pop("_convert_", None)
    build = getattr(rga.backbones, options.pop("_target_").removeprefix("rga.backbones."))
    shapes = output_shapes(build(**options), (256, 128))
    stages = [shapes[stage] for stage in config["stages"]]
    heights = [shape[1] for shape in stages if shape is not None]
    assert len(heights) == len(stages) >= 3
    assert heights == sorted(heights, reverse=True)
    assert shapes[""] is not None


@pytest.mark.parametrize("name", ["resnet50", "mobilenetv2", "convnext_tiny", "regnety_008"])
def test_strides_of_the_stages(name: str, cache: Path) -> None:
    config = compose([f"backbone={name}", "backbone.weights=null"])["backbone"]
    shapes = output_shapes(hydra.utils.instantiate(config["trunk"]), (256, 128))
    heights = [shapes[stage][1] for stage in config["stages"]]
    assert heights == [64, 32, 16, 16 if name == "resnet50" else 8]


def test_last_stride() -> None:
    assert torchvision_trunk("resnet18")(torch.randn(1, 3, 64, 64)).shape == (1, 512, 2, 2)
    assert torchvision_trunk("resnet18", last_stride=1)(torch.randn(1, 3, 64, 64)).shape == (1, 512, 4, 4)
    trunk = torchvision_trunk("resnet50", last_stride=1)
    assert output_shapes(trunk, (256, 128))["layer4"] == (2048, 16, 8)
    for name, stride in (("mobilenet_v2", 1), ("resnet18", 3)):
        with pytest.raises(ValueError, match=f"last_stride={stride} is not possible for {name}"):
            torchvision_trunk(name, last_stride=stride)
    with pytest.raises(ValueError, match="not a chain"):
        torchvision_trunk("inception_v3")


def convolutions(network: nn.Module) -> dict[str, tuple[Any, ...]]:
    modules = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    return {name: (module.stride, module.dilation, module.padding) for name, module in modules}


@pytest.mark.parametrize(("output_stride", "dilate"), [(8, [False, True, True]), (16, [False, False, True])])
@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_dilation_is_torchvisions_but_for_the_first_block(name: str, output_stride: int, dilate: list[bool]) -> None:
    with torch.device("meta"):
        theirs = convolutions(torchvision.models.get_model(name, replace_stride_with_dilation=dilate))
        ours = convolutions(torchvision_trunk(name, output_stride=output_stride))
    assert ours.keys() == theirs.keys()
    differ = {stage: ours.pop(stage) for stage in list(ours) if ours[stage] != theirs[stage]}
    dilations = {8: {"layer3": 2, "layer4": 4}, 16: {"layer4": 2}}[output_stride]
    assert differ == {f"{stage}.0.conv2": ((1, 1), (d, d), (d, d)) for stage, d in dilations.items()}


@pytest.mark.slow
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("resnet18", {"layer3.0.conv1": 16, "layer4.0.conv1": 32}),
        ("resnet50", {"layer3.0.conv2": 16, "layer4.0.conv2": 32}),
        ("mobilenet_v2", {"features.7.conv.1.0": 16, "features.14.conv.1.0": 32}),
    ],
)
def test_a_dilated_trunk_is_the_strided_one_in_between(name: str, first: dict[str, int], output_stride: int) -> None:
    """Undo what the convolutions that lost their stride have beyond the a-trous algorithm, and the features of the
    strided network are among those of the dilated one."""
    torch.manual_seed(0)
    strided = torchvision_trunk(name).double().eval()
    dilated = torchvision_trunk(name, output_stride=output_stride).double().eval()
    dilated.load_state_dict(strided.state_dict())  # the same weights fit
    for path, stride in first.items():
        convolution = dilated.get_submodule(path)
        factor = max(stride // output_stride, 1)
        assert convolution.dilation == convolution.padding == (factor, factor)
        if factor > 1:
            for name in ("dilation", "padding"):
                setattr(convolution, name, (factor // 2, factor // 2))
    x = torch.randn(1, 3, 96, 65).double()
    y, step = dilated(x), 32 // output_stride
    assert y.shape[2:] == (96 // output_stride, -(-65 // output_stride))
    torch.testing.assert_close(y[:, :, ::step, ::step], strided(x))


def test_every_3x3_convolution_of_a_dilated_stage_is_dilated() -> None:
    trunk = torchvision_trunk("resnet18", output_stride=8)
    for stage, dilation in (("layer1", 1), ("layer2", 1), ("layer3", 2), ("layer4", 4)):
        found = [value for path, value in convolutions(trunk).items() if path.startswith(stage) and "conv" in path]
        assert [value[1:] for value in found] == [((dilation, dilation), (dilation, dilation))] * 4
    shapes = output_shapes(trunk, (769, 769))
    assert [shapes[f"layer{stage}"] for stage in (2, 3, 4)] == [(128, 97, 97), (256, 97, 97), (512, 97, 97)]


def test_output_strides_that_cannot_be() -> None:
    for name, stride in (("convnext_tiny", 8), ("resnet18", 0)):
        with pytest.raises(ValueError, match=f"output_stride={stride} is not possible for {name}; 8 and 16"):
            torchvision_trunk(name, output_stride=stride)
    with pytest.raises(ValueError, match="give one of them"):
        torchvision_trunk("resnet18", last_stride=1, output_stride=8)


def test_a_trunk_computes_what_the_network_computes() -> None:
    network = torchvision.models.mobilenet_v2().eval()
    trunk = torchvision_trunk("mobilenet_v2").eval()
    trunk.load_state_dict(network.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 32)
    torch.testing.assert_close(trunk(x), network.features(x))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_file(tmp_path: Path, resnet18: dict[str, Tensor], suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(resnet18, file)
    assert same(torchvision_trunk("resnet18", weights=file, last_stride=1), resnet18)


def test_file_of_a_whole_training_state(tmp_path: Path, resnet18: dict[str, Tensor]) -> None:
    state = {f"module.{name}": value for name, value in resnet18.items()} | {"module.fc.weight": torch.zeros(7, 512)}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "weights.pth")
    assert same(torchvision_trunk("resnet18", weights=str(tmp_path / "weights.pth")), resnet18)


def test_file_of_an_old_torch_without_counters(tmp_path: Path, resnet18: dict[str, Tensor]) -> None:
    state = {name: value for name, value in resnet18.items() if "num_batches" not in name}
    torch.save(state, tmp_path / "weights.pth")
    torchvision_trunk("resnet18", weights=tmp_path / "weights.pth")


def test_mobilenet_file(tmp_path: Path) -> None:
    state = torchvision.models.mobilenet_v2().state_dict()
    torch.save({name: value for name, value in state.items() if name.startswith("features.")}, tmp_path / "w.pt")
    assert same(torchvision_trunk("mobilenet_v2", weights=tmp_path / "w.pt"), state)


def test_file_that_does_not_fit(tmp_path: Path, resnet18: dict[str, Tensor]) -> None:
    state = {name: value for name, value in resnet18.items() if name != "conv1.weight"} | {"nonsense": torch.zeros(1)}
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth") as error:
        torchvision_trunk("resnet18", weights=tmp_path / "weights.pth")
    assert "missing: conv1.weight" in str(error.value)
    assert "unexpected: nonsense" in str(error.value)
    torch.save(resnet18 | {"conv1.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"conv1\.weight"):
        torchvision_trunk("resnet18", weights=tmp_path / "weights.pth")
    with pytest.raises(FileNotFoundError, match="absent"):
        torchvision_trunk("resnet18", weights=tmp_path / "absent.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="no state dict"):
        torchvision_trunk("resnet18", weights=tmp_path / "list.pth")


def test_timm_file(tmp_path: Path) -> None:
    options: dict[str, Any] = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 16]}
    state = timm.create_model("resnet18", num_classes=7, **options).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    trunk = timm_trunk("resnet18", weights=tmp_path / "weights.safetensors", output_stride=16, **options)
    assert same(trunk, state)
    assert trunk(torch.randn(1, 3, 64, 64)).shape == (1, 16, 4, 4)
    save_file({"nonsense": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="unexpected: nonsense"):
        timm_trunk("resnet18", weights=tmp_path / "weights.safetensors", **options)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"'BEST'.*IMAGENET1K_V1"):
        torchvision_trunk("resnet50", weights="BEST")
    with pytest.raises(TypeError, match="colour"):
        timm_trunk("resnet18", weights=True, colour="red")


def test_download_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    text = r"download (resnet50-\w+\.pth); download it yourself from https://\S+/\1 and pass backbone\.weights=FILE"
    with pytest.raises(RuntimeError, match=text):
        torchvision_trunk("resnet50", weights="IMAGENET1K_V1")

    create = timm.create_model

    def refuse(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise OSError("no route")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(RuntimeError, match=r"download it yourself from \S*convnext_tiny.* backbone\.weights=FILE"):
        timm_trunk("convnext_tiny", weights=True)


def test_download(monkeypatch: pytest.MonkeyPatch, resnet18: dict[str, Tensor]) -> None:
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *args, **kwargs: resnet18)
    assert same(torchvision_trunk("resnet18", weights="IMAGENET1K_V1"), resnet18)


@pytest.mark.parametrize("content", [b"half of it", b""])
def test_a_download_that_was_interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    """torch compares the digest in a file's name when it downloads it, and never again."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"checkpoints/{name} is not what its name says.*: remove it"):
        torchvision_trunk("resnet18", weights="IMAGENET1K_V1")


def test_a_densenet_ends_as_its_forward_does() -> None:
    """torchvision's applies a ReLU, which is no module of the network, before it pools."""
    torch.manual_seed(0)
    network = torchvision.models.densenet121(weights=None).eval()
    trunk = torchvision_trunk("densenet121").eval()
    trunk.load_state_dict({name: x for name, x in network.state_dict().items() if not name.startswith("classifier")})
    images, pooled = torch.randn(1, 3, 64, 64), []
    network.classifier.register_forward_pre_hook(lambda module, inputs: pooled.append(inputs[0]))
    with torch.no_grad():
        network(images)
        torch.testing.assert_close(trunk(images).mean((2, 3)), pooled[0])
