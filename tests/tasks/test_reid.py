"""The re-ID module against the description of the recipe."""

from collections import OrderedDict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rga.errors import ConfigError
from rga.losses import BatchHardTriplet
from rga.metrics import evaluate_distances, evaluate_ranking, rerank
from rga.network import build
from rga.runs.compose import compose
from rga.tasks import ReID
from rga.training.gates import blocks_of

REFERENCE = np.load(Path(__file__).parents[1] / "fixtures" / "losses.npz")


def module(classes: int = 20, **options: Any) -> ReID:
    task = ReID(
        network=nn.Sequential(nn.Conv2d(3, 24, 3, bias=False), nn.BatchNorm2d(24)),
        channels=24,
        optimizer=partial(torch.optim.Adam, lr=8e-4, weight_decay=5e-4),
        schedule=lambda epoch: 1.0,
        **options,
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


@pytest.mark.parametrize("factor", [1.0, 10.0])
def test_attention_may_have_a_learning_rate_of_its_own(factor: float) -> None:
    stage, attention = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 24, 1)
    task = ReID(
        network=nn.Sequential(OrderedDict(layer1=nn.Sequential(OrderedDict(stage=stage, attention=attention)))),
        channels=24,
        optimizer=partial(torch.optim.Adam, lr=8e-4),
        schedule=lambda epoch: 0.5,
        attention_lr=factor,
    )
    (optimizer,), _ = task.configure_optimizers()
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rates[id(p)] for p in attention.parameters()] == pytest.approx(2 * [4e-4 * factor])
    assert [rates[id(p)] for p in (*stage.parameters(), task.neck.weight)] == pytest.approx(3 * [4e-4])


def test_what_a_trunk_calls_attention_is_the_trunks() -> None:
    """As timm's CSPNeXt does: its learning rate is the network's, and it has no gates."""
    own, block = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 24, 1)
    stage = nn.Sequential(OrderedDict(stage=nn.Sequential(OrderedDict(attention=own)), attention=block))
    last = nn.Sequential(OrderedDict(attention=nn.Conv2d(24, 24, 1)))
    task = ReID(
        network=nn.Sequential(OrderedDict(layer1=stage, layer2=last)),
        channels=24,
        optimizer=partial(torch.optim.Adam, lr=8e-4),
        schedule=lambda epoch: 1.0,
        attention_lr=10.0,
    )
    (optimizer,), _ = task.configure_optimizers()
    fast = {id(p) for group in optimizer.param_groups if group["lr"] > 1e-3 for p in group["params"]}
    assert fast == {id(p) for p in block.parameters()}
    assert blocks_of(task) == {"layer1": block}


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_losses_are_those_of_the_authors(weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross entropy with label smoothing behind BN, batch-hard triplet on the feature before it."""
    task = module(triplet_weight=weight).double()
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
    assert losses["loss"].item() == pytest.approx(
        float(weight * REFERENCE["triplet"] + REFERENCE["smoothed_ce"]), abs=1e-10
    )


def test_forward_pools_the_map_and_normalises_it() -> None:
    task = module().eval()
    images = torch.randn(4, 3, 16, 8)
    before, after = task(images)
    torch.testing.assert_close(before, F.adaptive_avg_pool2d(task.backbone(images), 1).flatten(1))
    torch.testing.assert_close(after, task.neck(before))


def test_flip_averages_with_the_mirror_image_in_a_test_only() -> None:
    task, images = module(flip=True), torch.randn(4, 3, 16, 8)
    nn.init.normal_(task.neck.weight)
    trained, _ = task(images)
    torch.testing.assert_close(trained, task.backbone(images).mean((2, 3)))
    task.eval()
    both = [task.backbone(x).mean((2, 3)) for x in (images, torch.stack([image.flip(-1) for image in images]))]
    before, after = task(images)
    torch.testing.assert_close(before, (both[0] + both[1]) / 2)
    torch.testing.assert_close(after, (task.neck(both[0]) + task.neck(both[1])) / 2)
    assert not torch.allclose(before, both[0])


def metrics_of(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[dict[str, float], list[torch.Tensor]]:
    """The metrics of a test of 4 queries and 60 images, and the features before and after BN and the labels."""
    task = module(**options)
    nn.init.normal_(task.neck.bias)
    task.trainer.datamodule.gallery_draws = 0  # type: ignore[attr-defined]
    metrics: dict[str, float] = {}
    monkeypatch.setattr(task, "log_dict", lambda found, **_: metrics.update({k: float(v) for k, v in found.items()}))
    index = torch.arange(64)
    batch = {"image": torch.randn(64, 3, 16, 8), "identity": index % 4, "camera": index % 3, "query": index < 4}
    task.eval()
    with torch.no_grad():
        for part in (slice(0, 40), slice(40, 64)):
            task.test_step({key: value[part] for key, value in (batch | {"index": index}).items()}, 0)
        task.on_test_epoch_end()
        return metrics, [*task(batch["image"]), batch["identity"], batch["camera"]]


@pytest.mark.parametrize(("feature", "other", "first"), [("after_bn", "pre_bn/", 1), ("before_bn", "post_bn/", 0)])
def test_one_feature_has_the_plain_names(monkeypatch: pytest.MonkeyPatch, feature: str, other: str, first: int) -> None:
    metrics, (*features, identity, camera) = metrics_of(monkeypatch, feature=feature)
    labels = [part for values in (identity, camera) for part in (values[:4], values[4:])]
    for prefix, x in (("", features[first]), (other, features[1 - first])):
        expected = evaluate_ranking(x[:4], x[4:], *labels).summary()
        assert {name: metrics.pop(prefix + name) for name in expected} == pytest.approx(expected, abs=1e-12)
    assert not metrics


@pytest.mark.parametrize("feature", ["after_bn", "before_bn"])
def test_reranking_is_recorded_beside_the_plain_figures(monkeypatch: pytest.MonkeyPatch, feature: str) -> None:
    torch.manual_seed(0)
    plain, _ = metrics_of(monkeypatch, feature=feature)
    torch.manual_seed(0)
    metrics, (*features, identity, camera) = metrics_of(monkeypatch, feature=feature, rerank=True)
    x = features[feature == "after_bn"]
    labels = [part for values in (identity, camera) for part in (values[:4], values[4:])]
    expected = evaluate_distances(rerank(x[:4], x[4:]), *labels).summary()
    assert {name: metrics.pop(f"rerank/{name}") for name in expected} == pytest.approx(expected, abs=1e-12)
    assert metrics == plain


def test_unknown_feature() -> None:
    with pytest.raises(ValueError, match="choose after_bn or before_bn"):
        module(feature="bn")


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


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["none", "rga_s", "rga_c", "rga_sc", "rga_cs", "rga_parallel"])
def test_every_choice_of_attention_builds(attention: str) -> None:
    config = compose(["scale=demo", f"attention={attention}"])
    network, channels = build(config["backbone"], config["attention"], config["data"]["size"])
    assert network(torch.randn(2, 3, *config["data"]["size"])).shape[1] == channels
