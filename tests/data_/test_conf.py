from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from rga.data import DataError, ReIDData
from rga.paths import CONF


def test_the_config_makes_the_data_module(tmp_path: Path) -> None:
    config = OmegaConf.create(
        {
            "seed": 3,
            "paths": {"data": str(tmp_path), "cache": str(tmp_path / "cache")},
            "recipe": {
                "identities": 2,
                "images": 4,
                "augment": {"_target_": "rga.data.ReIDAugment", "size": "${data.size}", "flip": 0.25},
            },
            "data": OmegaConf.load(CONF / "data" / "market1501.yaml"),
        }
    )
    module = hydra.utils.instantiate(config.data)
    assert isinstance(module, ReIDData)
    assert (module.name, module.size, module.seed, module.augment.flip) == ("market1501", (256, 128), 3, 0.25)
    with pytest.raises(DataError, match="market1501"):
        module.prepare_data()

    config.data.demo = {"identities": 2, "test_identities": 1, "images": 1, "distractors": 1, "junk": 1}
    config.data.size = [96, 48]
    module = hydra.utils.instantiate(config.data)
    module.prepare_data()
    module.setup("fit")
    assert module.num_classes == 2
