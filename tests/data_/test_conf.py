from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf

from rga.data import DataError, ReIDData
from rga.paths import CONF


def config(folder: Path, **changes: Any) -> DictConfig:
    return OmegaConf.create(
        {
            "seed": 3,
            "paths": {"data": str(folder), "cache": str(folder / "cache")},
            "recipe": {
                "identities": 2,
                "images": 4,
                "augment": {"_target_": "rga.data.ReIDAugment", "size": "${data.size}", "flip": 0.25},
            },
            "data": OmegaConf.merge(OmegaConf.load(CONF / "data" / "market1501.yaml"), changes),
        }
    )


def test_the_config_makes_the_data_module(tmp_path: Path) -> None:
    module = hydra.utils.instantiate(config(tmp_path).data)
    assert isinstance(module, ReIDData)
    assert (module.name, module.size, module.seed, module.augment.flip) == ("market1501", (256, 128), 3, 0.25)
    with pytest.raises(DataError, match="market1501"):
        module.prepare_data()


def test_and_writes_demo_data(tmp_path: Path) -> None:
    demo = {"identities": 2, "test_identities": 1, "images": 1, "distractors": 1, "junk": 1}
    module = hydra.utils.instantiate(config(tmp_path, demo=demo, size=[96, 48]).data)
    module.prepare_data()
    module.setup("fit")
    assert module.num_classes == 2
