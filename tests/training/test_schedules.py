"""The learning rate of every epoch against the authors' schedule."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate

from rga.paths import CONF
from rga.runs.compose import compose
from rga.training.schedules import cosine, poly, resnet_steps

REFERENCE = Path(__file__).parents[1] / "fixtures" / "lr_schedule.npz"


def test_learning_rate_of_each_epoch_is_the_authors() -> None:
    recipe = yaml.safe_load((CONF / "recipe" / "reid.yaml").read_text())
    factor = instantiate(recipe["schedule"])
    rates = [float(recipe["optimizer"]["lr"]) * factor(epoch) for epoch in range(recipe["epochs"])]
    np.testing.assert_allclose(rates, np.load(REFERENCE)["lr_per_epoch"], rtol=1e-12)


@pytest.mark.parametrize(("depth", "first"), [(20, 0.1), (56, 0.1), (110, 0.01), (218, 0.01)])
def test_the_cifar_recipe_starts_deep_networks_slowly(depth: int, first: float) -> None:
    rates = [0.1 * resnet_steps(epoch, depth=depth, milestones=[81, 122], gamma=0.1) for epoch in range(164)]
    assert rates == pytest.approx([first] + 80 * [0.1] + 41 * [0.01] + 42 * [0.001])


def test_what_is_left_of_a_deep_network_starts_at_once() -> None:
    """At scale=demo a twelfth of its layers."""
    config = compose(["experiment=cifar_resnet", "scale=demo", "backbone.depth=110"])
    assert instantiate(config["recipe"]["schedule"])(0) == 1.0
    assert resnet_steps(0, depth=218, shrink=1, milestones=[2], gamma=0.1) == pytest.approx(0.1)


def test_within_an_epoch_only_poly_changes() -> None:
    assert resnet_steps(80.99, depth=20, milestones=[81, 122], gamma=0.1) == 1.0
    assert resnet_steps(0.99, depth=110, milestones=[81, 122], gamma=0.1) == pytest.approx(0.1)
    factors = [poly(step / 500, epochs=80) for step in (0, 1, 20_000, 39_999)]
    assert factors == pytest.approx([1.0, (1 - 1 / 40_000) ** 0.9, 0.5**0.9, (1 / 40_000) ** 0.9])


def test_cosine_is_torchs_after_its_warmup() -> None:
    """In each step, 10 of an epoch; the rate rises in equal steps before."""
    factors = [cosine(step / 10, epochs=8, warmup=2, start=0.1) for step in range(80)]
    np.testing.assert_allclose(factors[:21], np.linspace(0.1, 1, 21))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)
    for factor in factors[20:]:
        assert factor == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()
    assert cosine(8.0, epochs=8) == pytest.approx(0)
    with pytest.raises(ValueError, match="a warm-up of 5 epochs is longer than the training of 5"):
        cosine(0, epochs=5, warmup=5)
