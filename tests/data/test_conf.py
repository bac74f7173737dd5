from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf

from rga.data import ImageData, ReIDData, archive
from rga.errors import DataError
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


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_the_configs_of_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, classes: int) -> None:
    options = {"seed": 3, "paths": {"data": str(tmp_path)}, "recipe": {"batch": 64}}
    content = OmegaConf.load(CONF / "data" / f"{name}.yaml")
    module = hydra.utils.instantiate(OmegaConf.create({**options, "data": content}).data)
    assert isinstance(module, ImageData)
    assert (module.name, module.size, module.seed, module.batch) == (name, (32, 32), 3, 64)
    assert (module.root, module.demo) == (tmp_path / name, None)
    assert (module.pad, module.mirror) == (4, 0.5)
    fetched: list[Any] = []
    monkeypatch.setattr(archive, "fetch", lambda *arguments: fetched.append(arguments))
    with pytest.raises(DataError, match=str(tmp_path / name)):
        module.prepare_data()
    ((url, _, folder, root),) = fetched
    assert url == f"https://www.cs.toronto.edu/~kriz/{name[:5]}-{classes}-binary.tar.gz"
    assert folder in (CONF / "data" / f"{name}.yaml").read_text()  # where the comment says that it lies
    assert root == tmp_path / name
    content = OmegaConf.merge(content, {"demo": {"seed": 1, "train": 100, "test": 100}, "download": None})
    module = hydra.utils.instantiate(OmegaConf.create({**options, "data": content}).data)
    module.prepare_data()
    module.setup("fit")
    assert (module.num_classes, module.download) == (classes, None)
    assert module.summary["train"] == {"images": 100, "classes": classes}
