"""Memory format and compilation change how a network runs, not what it computes or how its parameters are called."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rga.attention import RGASC
from rga.errors import ConfigError
from rga.plugin import plug
from rga.training.speed import Switch, expect_precision, precision_in_force, speed_up
from training.command import CIFAR, SCENES, SMALL
from training.inside import make

CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    plain = nn.Sequential()
    plain.add_module("stage", nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()))
    plain.add_module("last", nn.Conv2d(8, 8, 3, stride=2, padding=1))
    return plug(plain, partial(RGASC, reduction=2, squeeze=2), ["stage"], (8, 6))


def gradients(module: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    module(x).square().sum().backward()
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("channels_last", "compile"), [(True, False), (False, True), (True, True)])
def test_the_same_numbers(channels_last: bool, compile: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tuned = network(), network()
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: None)  # what compiles is PyTorch's own; see below
    speed_up(tuned, CPU, channels_last=channels_last, compile=compile)
    x = torch.randn(4, 3, 8, 6)
    assert tuned.state_dict().keys() == plain.state_dict().keys()
    expected, found = gradients(plain, x), gradients(tuned, x)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4)
    kept = torch.channels_last if channels_last else torch.contiguous_format
    assert tuned(x).is_contiguous(memory_format=kept)


@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_is_for_gpus_and_by_choice(monkeypatch: pytest.MonkeyPatch, tf32: bool) -> None:
    products: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", products.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
    speed_up(network(), CPU, tf32=tf32)
    assert not products
    speed_up(network(), torch.device("cuda"), channels_last=False, compile=False, tf32=tf32)
    assert products == ["high" if tf32 else "highest"]
    assert torch.backends.cudnn.allow_tf32 == tf32


@pytest.mark.parametrize(
    ("device", "capability", "precision", "tf32", "expected"),
    [
        ("cpu", (0, 0), "32-true", True, "32-true"),
        ("cuda", (7, 0), "32-true", True, "32-true"),
        ("cuda", (8, 0), "32-true", True, "32-true, TF32"),
        ("cuda", (8, 0), "32-true", False, "32-true"),
        ("cuda", (9, 0), "bf16-mixed", True, "bf16-mixed, TF32"),
        ("cuda", (9, 0), "64-true", True, "64-true"),
    ],
)
def test_what_is_computed_in_is_told(
    monkeypatch: pytest.MonkeyPatch, device: str, capability: tuple[int, int], precision: str, tf32: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precision_in_force(torch.device(device), precision, tf32) == expected
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert precision_in_force(torch.device(device), precision, tf32) == precision


@pytest.mark.parametrize(
    ("device", "precision", "said"),
    [
        ("cpu", "16-mixed", r"takes a GPU: .* bf16-mixed on this CPU"),
        ("cuda", "bf16-true", "expected 32-true, bf16-mixed, 16-mixed or 64-true"),
        ("cpu", "16", "expected 32-true"),
    ],
)
def test_precisions_that_are_not_what_they_say(device: str, precision: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        expect_precision(torch.device(device), precision)


def test_precisions() -> None:
    expect_precision(torch.device("cuda"), "16-mixed")
    for precision in ("32-true", "bf16-mixed", "64-true"):
        expect_precision(CPU, precision)


@pytest.mark.parametrize(("switch", "gpu", "cpu"), [("auto", True, False), (True, True, True), (False, False, False)])
def test_auto_is_for_gpus(monkeypatch: pytest.MonkeyPatch, switch: Switch, gpu: bool, cpu: bool) -> None:
    for device, expected in ((torch.device("cuda"), gpu), (CPU, cpu)):
        calls: list[dict[str, Any]] = []
        module = network()
        monkeypatch.setattr(module, "compile", lambda calls=calls, **options: calls.append(options))
        monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: None)
        speed_up(module, device, channels_last=switch, compile=switch)
        assert len(calls) == expected
        weight = module.get_submodule("last").weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == expected
        if expected:
            assert torch._dynamo.config.suppress_errors == (switch == "auto")
    torch._dynamo.config.suppress_errors = False


RESNET = [
    *CIFAR,
    "data.demo={train: 101, test: 20, seed: 0}",
    "recipe.batch=24",
    "recipe.epochs=3",
]  # 5 images are left
HEADS = [*SCENES, "task.auxiliary=0.4", "head=aspp", "recipe.epochs=2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "small", [RESNET, [*SMALL, "recipe.epochs=2"], HEADS], ids=["classification", "reid", "segmentation"]
)
def test_a_training_is_one_graph(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is trained is compiled, without a graph break, once: neither smaller batches nor evaluations are."""
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled, compile = [], nn.Module.compile

    def counted(module: nn.Module, **options: Any) -> None:
        compiled.append(module)
        compile(module, backend=backend, fullgraph=True, **options)

    monkeypatch.setattr(nn.Module, "compile", counted)
    torch._dynamo.reset()
    expected = make(tmp_path / "plain", "attention=rga_sc", small=small)
    assert not compiled
    result = make(tmp_path / "compiled", "attention=rga_sc", "trainer.compile=true", small=small)
    (module,) = compiled
    assert len(graphs) == 1
    inputs = sum(node.op == "placeholder" for node in graphs[0].graph.nodes)
    assert inputs > len(list(module.parameters()))  # all of them, buffers and the images
    assert result["fingerprint"] == expected["fingerprint"]
    assert result["curve"][0]["loss"] == pytest.approx(expected["curve"][0]["loss"], rel=1e-3)
