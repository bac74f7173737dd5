"""The re-ID module against the description of the recipe."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rga.compose import ConfigError, compose
from rga.losses import BatchHardTriplet
from rga.network import build
from rga.tasks import ReID

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "losses.npz")


def module(classes: int = 20) -> ReID:
    task = ReID(
        network=nn.Sequential(nn.Conv2d(3, 24, 3, bias=False), nn.BatchNorm2d(24)),
        channels=24,
        optimizer=partial(torch.optim.Adam, lr=8e-4, weight_decay=5e-4),
        schedule=lambda epoch: 1.0,
    )
    task._trainer = SimpleNamespace(datamodule=SimpleNamespace(num_classes=classes), world_size=1)  # type: ignore[assignment]
    task.setup("fit")
    return task


def test_neck_and_classifier_have_no_bias_to_learn() -> None:
    task = module(classes=500)
    assert isinstance(task.classifier, nn.Linear)
    assert task.classifier.bias is None
    assert task.classifier.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not task.neck.bias.requires_grad
    (optimizer,), _ = task.configure_optimizers()
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert id(task.neck.bias) not in trained
    assert trained == {id(p) for p in task.parameters() if p.requires_grad}


def test_losses_are_those_of_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross entropy with label smoothing behind BN, batch-hard triplet on the feature before it."""
    task = module().double()
    feature, logits = torch.tensor(REFERENCE["feature"]), torch.tensor(REFERENCE["logits"])
    normalised = torch.zeros_like(feature)
    monkeypatch.setattr(task, "forward", lambda images: (feature, normalised))
    assert task.classifier is not None
    monkeypatch.setattr(task.classifier, "forward", lambda x: logits if x is normalised else None)
    monkeypatch.setattr(task, "log_dict", lambda *args, **kwargs: None)
    label = torch.tensor(REFERENCE["label"])
    losses = task.training_step({"image": torch.zeros(len(label), 3, 8, 4), "label": label}, 0)
    assert losses["triplet"].item() == pytest.approx(float(REFERENCE["triplet"]), abs=1e-10)
    assert losses["identity"].item() == pytest.approx(float(REFERENCE["smoothed_ce"]), abs=1e-10)
    assert losses["loss"].item() == pytest.approx(float(REFERENCE["triplet"] + REFERENCE["smoothed_ce"]), abs=1e-10)


def test_forward_pools_the_map_and_normalises_it() -> None:
    task = module().eval()
    images = torch.randn(4, 3, 16, 8)
    before, after = task(images)
    torch.testing.assert_close(before, F.adaptive_avg_pool2d(task.backbone(images), 1).flatten(1))
    torch.testing.assert_close(after, task.neck(before))


def test_the_paper_names_are_the_defaults() -> None:
    config = compose(["experiment=reid"])
    assert config["task"]["smoothing"] == 0.1
    assert config["task"]["margin"] == 0.3
    recipe: Any = config["recipe"]
    assert (recipe["epochs"], recipe["identities"], recipe["images"]) == (600, 16, 4)
    assert (recipe["optimizer"]["lr"], recipe["optimizer"]["weight_decay"]) == (8e-4, 5e-4)
    assert config["data"]["size"] == [256, 128]
    assert config["backbone"]["trunk"]["last_stride"] == 1
    assert isinstance(BatchHardTriplet(), nn.Module)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["attention=rga_s", "attention.after=[5]"], "stages 1 to 4"),
        (["attention=rga_s", "attention.after=[layer9]"], "layer9"),
        (["backbone.weights=/nowhere/weights.pth"], "/nowhere/weights.pth"),
    ],
)
def test_a_network_that_cannot_be_built_is_a_clear_error(overrides: list[str], message: str) -> None:
    config = compose(["scale=demo", *overrides])
    with pytest.raises(ConfigError, match=message):
        build(config["backbone"], config["attention"], config["data"]["size"])


@pytest.mark.parametrize("attention", ["none", "rga_s", "rga_c", "rga_sc", "rga_cs", "rga_parallel"])
def test_every_choice_of_attention_builds(attention: str) -> None:
    config = compose(["scale=demo", f"attention={attention}"])
    network, channels = build(config["backbone"], config["attention"], config["data"]["size"])
    assert network(torch.randn(2, 3, *config["data"]["size"])).shape[1] == channels
