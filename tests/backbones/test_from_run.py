"""A training that starts from what a run has trained: its trunk, and its attention where that is the same block."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from rga.backbones.weights import read_weights
from rga.errors import ConfigError
from rga.network import build
from rga.runs import Run
from rga.runs.compose import compose
from rga.runs.identity import fingerprint, without_places
from rga.runs.index import Index
from rga.runs.inputs import Inputs, InputsError
from rga.training import loop
from untrained import CIFAR, SMALL, write_run

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("source"), *SMALL)


def started(weights: object, *overrides: str) -> nn.Module:
    torch.manual_seed(1)  # other numbers than those of the run, which begins at 0
    config = compose([*SMALL, f"backbone.weights={weights}", *overrides])
    return build(config["backbone"], config["attention"], config["data"]["size"])[0]


def trained(run: Path) -> dict[str, Tensor]:
    state = read_weights(run / "last.ckpt")
    return {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}


def equal(network: nn.Module, state: dict[str, Tensor]) -> set[str]:
    """The names under which both have the same numbers."""
    return {name for name, value in network.state_dict().items() if name in state and value.equal(state[name])}


def test_all_of_it(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rga"):
        network = started(run)
    assert equal(network, trained(run)) == set(network.state_dict())
    trunk = [name for name in network.state_dict() if ".attention." not in name]
    said = f"{len(trunk)} tensors of the trunk, and the attention behind layer1, layer2, layer3, layer4"
    assert f"started from {run}: {said}" in caplog.text
    assert "new: heads and classifiers" in caplog.text
    assert equal(started(run / "last.ckpt"), trained(run)) == set(network.state_dict())
    assert "zero" not in caplog.text
    zero = started(run, "++attention.block.zero_init_last=false")  # how gates begin is no matter
    assert equal(zero, trained(run)) == set(network.state_dict())


def test_the_trunk_alone(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rga"):
        network = started(run, "attention=none")
    state = {name.replace(".stage.", "."): value for name, value in trained(run).items()}
    assert equal(network, state) == set(network.state_dict())
    assert "not taken: the run's attention behind layer1, layer2, layer3, layer4" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["attention=rga_cs"], "another block"),  # its tensors have the same names and shapes, in another order
        (["attention=se"], "another block"),
        (["attention.block.squeeze=4"], "another block"),
        (["data.size=[96,32]"], "another size"),
    ],
)
def test_another_block_is_new(run: Path, overrides: list[str], reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rga"):
        network = started(run, *overrides)
    torch.manual_seed(1)
    same = equal(network, trained(run))
    assert same >= {name for name in network.state_dict() if ".attention." not in name}
    for stage in range(1, 5):
        assert f"the attention behind layer{stage} (" in caplog.text
    assert f"the run's is {reason if reason == 'another block' else 'for another size'}" in caplog.text
    weights = [name for name, value in network.named_parameters() if ".attention." in name and value.dim() > 1]
    assert not same & {name for name in weights if network.state_dict()[name].any()}


def test_some_stages(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rga"):
        started(run, "attention.after=[2]")
    assert "and the attention behind layer2" in caplog.text
    assert "not taken: the run's attention behind layer1, layer3, layer4" in caplog.text


def test_other_tasks_and_networks(tmp_path: Path) -> None:
    """From CIFAR-10's run to CIFAR-100; and what does not fit is refused."""
    cifar = write_run(tmp_path, *CIFAR, classes=10)
    config = compose([*CIFAR, "data=cifar100", f"backbone.weights={cifar}"])
    network, _ = build(config["backbone"], config["attention"], config["data"]["size"])
    assert equal(network, trained(cifar)) == set(network.state_dict())
    with pytest.raises(ConfigError, match=r"is of another trunk\n  missing: .*\n  unexpected: "):
        started(cifar)


def test_what_cannot_be_a_start(run: Path, tmp_path: Path) -> None:
    def fails(weights: Path, message: str, *overrides: str) -> None:
        with pytest.raises(ConfigError, match=message):
            started(weights, *overrides)

    fails(tmp_path / run.parent.name / "7", "no file of weights")
    fails(tmp_path, r"no finished run in .*: expected result\.json")
    fails(run.parent, f"there are runs in it, name one: {run}")
    unfinished = tmp_path / run.parent.name / "1"
    unfinished.mkdir(parents=True)
    (unfinished / "last.ckpt").write_bytes((run / "last.ckpt").read_bytes())
    fails(unfinished, "is not finished: there is no result.json")
    assert equal(started(unfinished / "last.ckpt"), trained(run))  # asked for by name
    (unfinished / "result.json").write_bytes((run / "result.json").read_bytes())  # of seed 0
    with pytest.warns(UserWarning, match="is left out"):
        fails(unfinished, "none that a run of rga has written")
    other, mixed = write_run(tmp_path / "other", *SMALL, "seed=1"), tmp_path / "mixed" / run.parent.name / "0"
    shutil.copytree(run, mixed)
    shutil.copy(other / "last.ckpt", mixed)
    fails(mixed, f"its last.ckpt is of run {other.parent.name}/1, its result.json of {run.parent.name}/0")
    torch.save({"pytorch-lightning_version": "2", "state_dict": Stranger()}, tmp_path / "x.ckpt")
    fails(tmp_path / "x.ckpt", "Python object")
    fails(run, r"(?s)another trunk.*of another shape: .*instead of", "++backbone.trunk.channels=[16,64,96,128]")


class Stranger:
    pass


def config_of(weights: object, **more: Any) -> dict[str, Any]:
    return compose([*SMALL, f"backbone.weights={weights}"]) | more


def test_the_run_is_part_of_the_name(run: Path, tmp_path: Path) -> None:
    """By its fingerprint and seed, wherever it lies; what is in it is digested and compared."""
    copy = tmp_path / "elsewhere" / run.parent.name / run.name
    copy.mkdir(parents=True)
    for name in ("last.ckpt", "result.json"):
        (copy / name).write_bytes((run / name).read_bytes())
    names = {fingerprint(config_of(weights)) for weights in (run, f"{run}/", copy)}
    assert len(names) == 1
    others = {fingerprint(config_of(weights)) for weights in ("null", run.parent / "1", "abcdef012345/0", "x.pth")}
    assert len(others | names) == 5
    name = f"{run.parent.name}/{run.name}"
    assert without_places(config_of(run))["backbone"]["weights"] == name
    images = Index(("train\ta.jpg\t1\tx",))
    inputs = Inputs.of(config_of(run), images)
    assert inputs.weights is not None
    assert inputs.weights[0] == name
    inputs.write(tmp_path)
    assert Inputs.of(config_of(copy), images) == inputs
    Inputs.of(config_of(copy), images).check(tmp_path)
    torch.save({"state_dict": {}}, copy / "last.ckpt")
    with pytest.raises(InputsError, match=f"the weights {name} are another file of the same name"):
        Inputs.of(config_of(copy), images).check(tmp_path)


@pytest.mark.slow
def test_a_training(run: Path, tmp_path: Path) -> None:
    overrides = [
        *SMALL,
        f"backbone.weights={run}",
        f"paths.runs={tmp_path / 'runs'}",
        f"paths.data={tmp_path / 'data'}",
    ]
    config = compose([*overrides, "recipe.epochs=1", "recipe.identities=2"])
    loop.run(OmegaConf.create(config))
    this = Run(config["paths"]["runs"], config)
    result = this.result()
    assert result is not None
    assert result["inputs"]["weights"]["file"] == f"{run.parent.name}/{run.name}"
    said = (this.folder / "train.log").read_text()
    assert "started from" in said
    assert "new: heads and classifiers" in said
