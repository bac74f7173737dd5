"""The learning rate of every epoch against the authors' schedule."""

from pathlib import Path

import numpy as np
import yaml
from hydra.utils import instantiate

from rga.paths import CONF

REFERENCE = Path(__file__).parent / "data" / "lr_schedule.npz"


def test_learning_rate_of_each_epoch_is_the_authors() -> None:
    recipe = yaml.safe_load((CONF / "recipe" / "reid.yaml").read_text())
    factor = instantiate(recipe["schedule"])
    rates = [float(recipe["optimizer"]["lr"]) * factor(epoch) for epoch in range(recipe["epochs"])]
    np.testing.assert_allclose(rates, np.load(REFERENCE)["lr_per_epoch"], rtol=1e-12)
