"""`rga train -m 'attention=glob(*)' scale=demo`: Hydra finds every config of conf/attention, and each one trains."""

import sys

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.nn import functional as F

import rga.training.loop
from rga.cli.app import main
from rga.network import build
from rga.paths import CONF


def test_the_zoo_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[DictConfig] = []
    monkeypatch.setattr(rga.training.loop, "run", configs.append)
    command = ["rga", "train", "-m", "attention=glob(*)", "scale=demo", "data.size=[64,32]", "hydra/launcher=basic"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code

    assert len(configs) == len(list((CONF / "attention").glob("*.yaml")))
    assert len({str(config.attention) for config in configs}) == len(configs)
    for config in configs:
        step(config)


def step(config: DictConfig) -> None:
    torch.manual_seed(0)
    network, channels = build(config.backbone, config.attention, config.data.size)
    optimizer = instantiate(config.recipe.optimizer)(network.parameters())
    features = network(torch.randn(4, 3, *config.data.size)).mean((2, 3))
    assert features.shape == (4, channels)
    loss = F.cross_entropy(features, torch.arange(4))
    loss.backward()
    optimizer.step()
    assert loss.isfinite(), config.attention
    assert all(parameter.isfinite().all() for parameter in network.parameters()), config.attention
