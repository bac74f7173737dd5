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
from rga.compose import compose
from rga.paths import CONF
from rga.plugin import output_shapes


@pytest.fixture(scope="module")
def resnet18() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: value.clone() for name, value in torchvision.models.resnet18().state_dict().items()}


def same(trunk: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in trunk.state_dict().items())


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "backbone").glob("*.yaml")))
def test_configs(name: str, cache: Path) -> None:
    config = compose([f"backbone={name}"])["backbone"]
    assert config["name"].startswith(name.removeprefix("cifar_"))
    options = {**config["trunk"], **({"weights": None} if "weights" in config["trunk"] else {})}
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
    heights = [shapes[stage][1] for stage in config["stages"]]  # type: ignore[index]
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
