"""Files of weights as other people's code writes them: wrapped, kept beside other things, as parts of larger models."""

import argparse
import logging
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from rga.backbones import torchvision_trunk
from rga.backbones.weights import read_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return dict(torchvision.models.resnet18(num_classes=7).state_dict())


def trunk_of(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


WRAPPED: dict[str, Any] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
    "model": lambda state: {"model": state, "model_ema": state, "args": {"lr": 0.1}},
    "net": lambda state: {"net": state, "acc": 93.1, "epoch": 7},
    "nested": lambda state: {"model": {"state_dict": state, "iteration": 1}},
    "module": lambda state: {"state_dict": prefixed(state, "module.")},
    "module.module": lambda state: prefixed(state, "module.module."),
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled in part": lambda state: {name.replace("layer1.", "layer1._orig_mod."): x for name, x in state.items()},
    "both": lambda state: {"net": prefixed(state, "module._orig_mod.module.")},
    "averaged": lambda state: {"n_averaged": torch.tensor(3), **prefixed(state, "module.")},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_wrapped(state: State, tmp_path: Path, kind: str) -> None:
    torch.save(WRAPPED[kind](state), tmp_path / "a.pt")
    found = read_weights(tmp_path / "a.pt")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


MODELS: dict[str, Any] = {
    "torchreid": lambda state: trunk_of(state)
    | {"classifier.weight": torch.ones(7, 512), "classifier.bias": torch.ones(7)},
    "torchreid with an embedding": lambda state: trunk_of(state)
    | {"fc.0.weight": torch.ones(9, 512), "classifier.weight": torch.ones(7, 9)},
    "fast-reid": lambda state: prefixed(trunk_of(state), "backbone.")
    | {"pixel_mean": torch.ones(1, 3, 1, 1), "pixel_std": torch.ones(1, 3, 1, 1), "heads.weight": torch.ones(7, 512)}
    | {f"heads.bottleneck.0.{name}": torch.ones(512) for name in ("weight", "bias", "running_mean", "running_var")},
    "Lightning": lambda state: {"state_dict": prefixed(state, "model.net."), "pytorch-lightning_version": "2.6"},
    "strong baseline": lambda state: prefixed(trunk_of(state), "base.") | {"bottleneck.weight": torch.ones(512)},
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_a_backbone_in_a_larger_model(
    state: State, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(MODELS[kind](state), tmp_path / "a.pth.tar.pt")
    logging.getLogger("rga").propagate = True
    with caplog.at_level(logging.INFO, "rga"):
        trunk = torchvision_trunk("resnet18", weights=tmp_path / "a.pth.tar.pt").state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in trunk.items())
    left = {"torchreid": "classifier.weight", "fast-reid": "heads.weight", "strong baseline": "bottleneck.weight"}
    assert left.get(kind, ".") in " ".join(caplog.messages)


def test_what_is_refused(state: State, tmp_path: Path) -> None:
    def fails(content: Any, message: str) -> None:
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(ValueError, match=message):
            torchvision_trunk("resnet18", weights=tmp_path / "a.pt")

    fails({"epoch": 3, "weights_of_mine": state}, "holds no state dict: .*; it has epoch, weights_of_mine")
    fails({"state_dict": {}}, "holds no state dict")
    fails({**state, "module.conv1.weight": state["conv1.weight"]}, "names differ by 'module.'")
    fails(
        prefixed(state, "student.") | prefixed(state, "teacher."), r"several networks like this one: student\., teach"
    )
    fails(
        prefixed(trunk_of(state) | {"layer1.gate.weight": torch.ones(1)}, "backbone."), "unexpected: layer1.gate.weight"
    )
    for value in (torch.nan, torch.inf):
        damaged = {name: tensor.clone() for name, tensor in state.items()}
        damaged["layer4.1.bn2.running_var"][3] = value
        fails(damaged, r"holds weights that are not finite, as of a run that diverged: layer4\.1\.bn2\.running_var")
    fails(dict(enumerate(state.values())), "holds no state dict: .*; it has 0, 1, 10")
    ring: dict[str, Any] = {"epoch": 3}
    ring["model"] = ring
    fails(ring, "holds no state dict: .*; it has epoch, model")
    for content, message in (
        (b"", "is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "is a pointer of Git LFS .* git lfs pull",
        ),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page"),
        (b"<HTML><body>Sign in", "is a web page"),
    ):
        (tmp_path / "b.pt").write_bytes(content)
        with pytest.raises(ValueError, match=rf"b\.pt {message}"):
            read_weights(tmp_path / "b.pt")


UNUSABLE: dict[str, tuple[str, Callable[[Tensor], Tensor], str]] = {
    "meta": ("conv1.weight", lambda x: x.to("meta"), "tensors without values"),
    "sparse": ("conv1.weight", lambda x: x.to_sparse(), "sparse or quantised tensors"),
    "float64": ("conv1.weight", lambda x: x.double() * 1e300, "not finite"),
    "variance": ("bn1.running_var", lambda x: -x, "negative variances"),
    "int8": ("conv1.weight", lambda x: (100 * x).to(torch.int8), "not the real numbers .*: conv1.weight is int8"),
    "bool": ("conv1.weight", lambda x: x > 0, "conv1.weight is bool"),
    "complex": ("conv1.weight", lambda x: x.to(torch.complex64), "conv1.weight is complex64"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_tensors_that_no_network_of_floats_can_have(state: State, tmp_path: Path, kind: str) -> None:
    name, change, message = UNUSABLE[kind]
    torch.save(state | {name: change(state[name])}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        torchvision_trunk("resnet18", weights=tmp_path / "a.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_converted(state: State, tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save({name: x.to(dtype) if x.is_floating_point() else x for name, x in state.items()}, tmp_path / "a.pt")
    trunk = torchvision_trunk("resnet18", weights=tmp_path / "a.pt").state_dict()
    assert all(torch.equal(x, state[name].to(dtype).to(x.dtype)) for name, x in trunk.items())


@pytest.mark.parametrize("kind", ["beside", "whole", "within"])
def test_the_program_that_writes_the_tensors_alone(state: State, tmp_path: Path, kind: str) -> None:
    """What is offered for a file of Python objects works for those of timm, of DeiT, and for a pickled network."""
    file, options = tmp_path / "deit.pth", argparse.Namespace(lr=0.1)
    network = torchvision.models.resnet18(num_classes=7)
    network.load_state_dict(state)
    content = {"beside": {"model": state, "args": options}, "whole": network, "within": {"model": network, "epoch": 3}}
    torch.save(content[kind], file)
    with pytest.raises(ValueError, match="opening such an object can run anything") as refused:
        torchvision_trunk("resnet18", weights=file)
    command = shlex.split(str(refused.value).rpartition("to another one: ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True)
    written = read_weights(tmp_path / "deit-tensors.pth")
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], state[name]) for name in state)


def test_which_of_several_is_taken_is_said(state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    averaged = {name: x + 1 for name, x in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": averaged, "epoch": 3}, tmp_path / "a.pt")
    logging.getLogger("rga").propagate = True
    with caplog.at_level(logging.INFO, "rga"):
        assert torch.equal(read_weights(tmp_path / "a.pt")["conv1.weight"], state["conv1.weight"])
    assert "a.pt holds several state dicts: state_dict is taken, state_dict_ema is not" in caplog.text


def test_a_part_of_the_network_itself(tmp_path: Path) -> None:
    """`module` and `head` as names of a network's own parts stay."""
    network = nn.ModuleDict({"stem": nn.ModuleDict({"module": nn.Linear(2, 2)}), "head": nn.Linear(2, 2)})
    torch.save(network.state_dict(), tmp_path / "a.pt")
    assert read_weights(tmp_path / "a.pt").keys() == network.state_dict().keys()
