"""Scene segmentation through the same trainer: its record, its resumption, its processes, its overlays."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rga.compose import ConfigError
from rga.data import DataError, cityscapes
from rga.evaluate import evaluate
from rga.predict import predict
from rga.trained import load
from train import command as cli
from train.command import CIFAR, SCENES, kill_after_a_checkpoint, only_result, what_counts

train = partial(cli.train, small=SCENES)
BLOCK = ["attention=rga_sc", "head=aspp", "task.auxiliary=0.4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "runs"
    train(folder, *BLOCK)
    return folder


def test_the_record_says_what_was_done(finished: Path) -> None:
    result = only_result(finished)
    assert {"miou", "train/miou", "iou/road", "iou/sky"} <= result["metrics"].keys()
    assert all(0 <= value <= 1 for value in result["metrics"].values())
    assert result["metrics"]["miou"] == pytest.approx(result["curve"][-1]["val/miou"])  # the last epoch's
    assert ["val/miou" in entry for entry in result["curve"]] == [False, True, False, True]
    assert {"loss", "main", "auxiliary"} <= result["curve"][0].keys()
    assert result["data"]["val"]["images"] == 2


def test_tested_again_it_gives_the_same(finished: Path) -> None:
    """And not the same where the images are looked at in another way."""
    (folder,) = finished.glob("*/0")
    expected = only_result(finished)["metrics"]
    assert evaluate(load(folder))["metrics"] == pytest.approx(expected, abs=1e-6)
    assert evaluate(load(folder, ["task.mirror=true"]))["metrics"] != pytest.approx(expected, abs=1e-6)


def test_killed_and_started_again_it_ends_the_same(finished: Path) -> None:
    folder = finished.parent / "killed"
    kill_after_a_checkpoint(folder, *BLOCK, small=SCENES)
    done = train(folder, *BLOCK)
    assert "resuming from" in done.stderr
    assert what_counts(only_result(folder)) == what_counts(only_result(finished))


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """One step an epoch, so that the curve holds the loss of each; no dropout, which each process draws for itself."""
    steps = ["attention=rga_sc", "recipe.steps=1", "trainer.precision=64-true", "head.dropout=0"]
    train(tmp_path / "one", *steps)
    train(tmp_path / "two", *steps, "trainer=ddp_cpu", "trainer.devices=2")
    expected, got = only_result(tmp_path / "one"), only_result(tmp_path / "two")
    assert got["fingerprint"] == expected["fingerprint"]
    assert [e["loss"] for e in got["curve"]] == pytest.approx([e["loss"] for e in expected["curve"]], abs=1e-6)
    assert got["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)


def test_overlays_are_drawn_once(finished: Path, tmp_path: Path) -> None:
    (run,) = finished.glob("*/0")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(0)
    for number, size in enumerate([(64, 128), (50, 70)]):
        Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(pictures / f"{number}.png")
    assert predict(run, pictures, tmp_path / "out", "cpu", strength=1.0) == 2
    with Image.open(tmp_path / "out" / "1.png") as overlay:
        assert overlay.size == (70, 50)
        colours = {tuple(colour) for colour in np.asarray(overlay).reshape(-1, 3)}
    assert colours <= {tuple(colour) for colour in cityscapes.read(finished.parent / "data/demo/cityscapes").colours}
    assert predict(run, pictures, tmp_path / "out", "cpu") == 0


def test_overlays_of_what_cannot_be_drawn(finished: Path, tmp_path: Path) -> None:
    (run,) = finished.glob("*/0")
    with pytest.raises(DataError, match="no pictures"):
        predict(run, tmp_path, tmp_path / "out")
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match="no finished run"):
        predict(tmp_path, tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="cannot read the picture"):
        predict(run, tmp_path, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))
    folder = finished.parent / "cifar"
    cli.train(folder, "recipe.epochs=1", small=CIFAR)
    with pytest.raises(ConfigError, match="a run of Classification"):
        predict(next(folder.glob("*/0")), tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("attention=nonlocal", "rga: .*is none: it has no method gate.*task.grid=false"),
        ("task.auxiliary_stage=layer9", "rga: .*layer9.*layer1"),
        ("+task.hread=1", "rga: .*hread"),
        ("data=camvid", "rga: there are no demo data for camvid"),
    ],
)
def test_what_cannot_be_built_is_one_message(tmp_path: Path, override: str, message: str) -> None:
    done = train(tmp_path / "runs", override, "task.auxiliary=0.4", check=False)
    assert done.returncode != 0
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
