"""Devices that cannot be: said in one line before anything is read or trained."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rga.errors import ConfigError
from rga.runs.compose import compose
from rga.training.loop import run
from training.command import CIFAR, SCENES, SMALL


def refused(folder: Path, *overrides: str) -> str:
    paths = [f"paths.runs={folder / 'runs'}", f"paths.data={folder / 'data'}"]
    with pytest.raises(ConfigError) as raised:
        run(OmegaConf.create(compose([*overrides, *paths])))
    assert not (folder / "data").exists()
    assert not list(folder.rglob("result.json"))
    return str(raised.value)


@pytest.mark.parametrize(
    ("small", "devices", "works"),
    [
        (
            [*SMALL, "recipe.identities=16"],
            3,
            "trainer.devices=1 or 2 with the batch as it is; or recipe.identities=15",
        ),
        ([*SMALL, "recipe.identities=16"], 7, "trainer.devices=1 or 2 or 4 with the batch as it is"),
        (CIFAR, 3, "recipe.batch=15 or recipe.batch=18"),
        (SCENES, 3, "recipe.batch=3 or recipe.batch=6"),
    ],
)
def test_a_batch_that_the_devices_cannot_share(
    tmp_path: Path, cache: Path, small: list[str], devices: int, works: str
) -> None:
    told = refused(tmp_path, *small, "trainer=ddp_cpu", f"trainer.devices={devices}")
    assert f"cannot be divided among {devices} processes" in told
    assert works in told
    assert "\n" not in told


def test_gpus_where_there_are_none(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    told = refused(tmp_path, *SMALL, "trainer=ddp", "trainer.devices=8", "trainer.accelerator=auto")
    assert "trainer.devices=8: PyTorch finds no GPU here. trainer=auto trains on the CPU" in told
