"""The segmentation module: its losses, its metrics, and attention beside the features."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import nn
from torch.nn import functional as F

from rga.attention import RGASC, AnySize
from rga.errors import ConfigError, DataError
from rga.heads import Plain
from rga.tasks import Segmentation

CLASSES = ["road", "sky", "unicorn"]
COLOURS = np.array([[128, 64, 128], [70, 130, 180], [1, 2, 3]], np.uint8)


def module(class_weights: list[float] | None = None, **options: Any) -> Segmentation:
    torch.manual_seed(0)
    trunk = nn.Sequential()
    trunk.add_module("layer3", nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)))
    trunk.add_module("layer4", nn.Conv2d(8, 16, 3, stride=2, padding=1))
    task = Segmentation(
        head=partial(Plain, width=8, dropout=0.0),
        network=trunk,
        channels=16,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        schedule=lambda epoch: 1.0,
        **options,
    )
    data = SimpleNamespace(size=(17, 25), num_classes=3, classes=CLASSES, colours=COLOURS, test=["val", "train"])
    data.class_weights = class_weights
    task._trainer = SimpleNamespace(  # type: ignore[assignment]
        datamodule=data, world_size=1, num_training_batches=1, num_test_batches=[0], precision="32-true"
    )
    task.setup("fit")
    return task


def batch(count: int = 2) -> dict[str, torch.Tensor]:
    label = torch.randint(2, (count, 17, 25))
    label[:, :4] = 255
    return {"image": torch.randn(count, 3, 17, 25), "label": label}


def test_the_loss_is_the_mean_over_pixels_that_count() -> None:
    task, data = module().train(), batch()
    assert task.segmenter is not None
    expected = F.cross_entropy(task.segmenter(data["image"]), data["label"], ignore_index=255)
    torch.testing.assert_close(task.training_step(data, 0)["loss"], expected)
    data["label"][:] = 255
    loss = task.training_step(data, 0)["loss"]
    assert float(loss) == 0.0


def test_classes_count_with_their_weights() -> None:
    weights = [0.5, 2.0, 1.0]
    task, data = module(class_weights=weights).train(), batch()
    assert task.segmenter is not None
    scores = task.segmenter(data["image"])
    expected = F.cross_entropy(scores, data["label"], torch.tensor(weights), ignore_index=255)  # a weighted mean
    plain = F.cross_entropy(scores, data["label"], ignore_index=255)
    loss = task.training_step(data, 0)["loss"]
    torch.testing.assert_close(loss, expected)
    assert abs(float(loss - plain)) > 1e-3
    assert not [name for name in task.state_dict() if "class_weights" in name]  # of the data, not of the network
    data["label"][:] = 255
    data["label"][0, 5, 5] = 0  # less than one whole pixel counts
    expected = F.cross_entropy(task.segmenter(data["image"])[0, :, 5, 5], torch.tensor(0))
    torch.testing.assert_close(task.training_step(data, 0)["loss"], expected)
    data["label"][:] = 255
    assert float(task.training_step(data, 0)["loss"]) == 0.0


def test_the_auxiliary_loss_is_added_with_its_weight() -> None:
    losses = module(auxiliary=0.4).train().training_step(batch(), 0)
    torch.testing.assert_close(losses["loss"], losses["main"] + 0.4 * losses["auxiliary"])
    task = module(auxiliary=0.4).eval()
    assert task(torch.randn(1, 3, 33, 25)).shape == (1, 3, 33, 25)


def test_attention_stands_beside_the_features() -> None:
    task = module(block=partial(RGASC, reduction=2, squeeze=2))
    assert task.segmenter is not None
    assert isinstance(task.segmenter.attention, AnySize)
    assert task.segmenter.attention.grid == (5, 7)
    head: Any = task.segmenter.head
    assert head[0].in_channels == 2 * 16
    assert module(block=partial(RGASC, reduction=2, squeeze=2), grid=[3, 3]).segmenter.attention.grid == (3, 3)  # type: ignore[union-attr]
    assert isinstance(module(block=partial(RGASC, reduction=2, squeeze=2), grid=False).segmenter.attention, RGASC)  # type: ignore[union-attr]
    assert task.eval()(torch.randn(2, 3, 41, 30)).shape == (2, 3, 41, 30)


def test_every_parameter_is_trained_and_has_one_name() -> None:
    task = module(block=partial(RGASC, reduction=2, squeeze=2), auxiliary=0.4).train()
    task.training_step(batch(), 0)["loss"].backward()
    assert all(parameter.grad is not None for parameter in task.parameters())
    assert len(list(task.named_parameters(remove_duplicate=False))) == len(list(task.named_parameters()))


def test_figures_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One matrix over all images of a part, sizes may differ; ignored pixels and absent classes do not count."""
    task = module().eval()
    logged: dict[str, float] = {}
    monkeypatch.setattr(task, "log_dict", lambda values, **_: logged.update({k: float(v) for k, v in values.items()}))
    pairs = []
    for size in ((17, 25), (20, 30)):
        data = {"image": torch.randn(1, 3, *size), "label": torch.randint(2, (1, *size))}
        data["label"][:, :3] = 255
        task.test_step(data, 0, 0)
        found = task(data["image"]).argmax(1)
        pairs.append((data["label"][:, 3:].flatten(), found[:, 3:].flatten()))
    task.test_step(batch(1), 0, 1)
    task.on_test_epoch_end()
    labels, found = (torch.cat(parts).numpy() for parts in zip(*pairs, strict=True))
    present = sorted(set(labels) | set(found))
    expected = jaccard_score(labels, found, labels=present, average=None)
    assert logged["miou"] == pytest.approx(expected.mean())
    assert [logged.get(f"iou/{CLASSES[number]}") for number in present] == pytest.approx(list(expected))
    assert ("iou/unicorn" in logged) == (2 in present)
    assert 0 <= logged["train/miou"] <= 1


def test_what_is_not_finite_is_no_class() -> None:
    """argmax takes a NaN for the largest: such an image would count as one of that class."""
    task = module().eval()
    with torch.no_grad():
        next(task.parameters()).fill_(torch.nan)
    task.test_step(batch(2), 0, 0)
    with pytest.raises(ConfigError, match="the outputs of 2 images to test on are not finite: the weights are damaged"):
        task.on_test_epoch_end()


def test_a_part_without_a_pixel_that_counts_has_no_result() -> None:
    task = module().eval()
    data = batch(1)
    task.test_step(data, 0, 0)
    data["label"][:] = 255
    task.test_step(data, 0, 1)
    task.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    with pytest.raises(DataError, match="no pixel of the split train counts"):
        task.on_test_epoch_end()
