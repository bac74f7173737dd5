"""Scene segmentation through the same trainer: its record, its resumption, its processes, its overlays."""

import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as script
from PIL import Image

from rga.data.scenes import cityscapes
from rga.errors import ConfigError, DataError
from rga.inference.evaluation import evaluate, text
from rga.inference.prediction import predict
from rga.inference.trained import load
from training import command as cli
from training.command import CIFAR, SCENES, kill_after_a_checkpoint, only_result, what_counts

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
    mirrored = evaluate(load(folder, ["task.mirror=true"]))
    assert mirrored["metrics"] != pytest.approx(expected, abs=1e-6)
    assert mirrored["overrides"] == ["task.mirror=true"]
    assert "with       task.mirror=true" in text(mirrored)


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
    images = tmp_path / "images"
    images.mkdir()
    random = np.random.default_rng(0)
    for number, size in enumerate([(64, 128), (50, 70)]):
        Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(images / f"{number}.png")
    assert predict(run, images, tmp_path / "out", "cpu", strength=1.0) == 2
    with Image.open(tmp_path / "out" / "1.png") as overlay:
        assert overlay.size == (70, 50)
        colours = {tuple(colour) for colour in np.asarray(overlay).reshape(-1, 3)}
    assert colours <= {tuple(colour) for colour in cityscapes.read(finished.parent / "data/demo/cityscapes").colours}
    assert predict(run, images, tmp_path / "out", "cpu", strength=1.0) == 0
    Image.new("RGB", (70, 50)).save(images / "1.png")  # another image under the same name
    with pytest.raises(DataError, match=r"1\.png is there already, and of another image"):
        predict(run, images, tmp_path / "out", "cpu", strength=1.0)


def test_outputs_that_are_not_finite_are_no_classes(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / next(finished.glob("*/0")).relative_to(finished)
    shutil.copytree(next(finished.glob("*/0")), run)
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    for tensor in checkpoint["state_dict"].values():
        if tensor.ndim == 4:  # finite, and too large for what they are multiplied with
            tensor.mul_(1e30)
    torch.save(checkpoint, run / "last.ckpt")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 33)).save(tmp_path / "images" / "a.png")
    with pytest.raises(ConfigError, match=r"the outputs for .*a\.png are not finite"):
        predict(run, tmp_path / "images", tmp_path / "out", "cpu")
    assert not list((tmp_path / "out").glob("*.png"))


def test_overlays_of_what_cannot_be_drawn(finished: Path, tmp_path: Path) -> None:
    (run,) = finished.glob("*/0")
    images = tmp_path / "images"
    images.mkdir()
    with pytest.raises(DataError, match="no images"):
        predict(run, images, tmp_path / "out")
    (images / "a.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match="no finished run"):
        predict(tmp_path, images, tmp_path / "out")
    with pytest.raises(DataError, match="cannot read the image"):
        predict(run, images, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))
    folder = finished.parent / "cifar"
    cli.train(folder, "recipe.epochs=1", small=CIFAR)
    with pytest.raises(ConfigError, match="a run of Classification"):
        predict(next(folder.glob("*/0")), images, tmp_path / "out")


def test_label_ids_have_the_official_scripts_numbers(finished: Path, tmp_path: Path) -> None:
    """cityscapesScripts' evaluation of the images that are handed in, against the run's own record."""
    (run,) = finished.glob("*/0")
    data = finished.parent / "data/demo/cityscapes"
    count = predict(run, data / "leftImg8bit/val", tmp_path / "ids", "cpu", ids=True)
    assert count == 2
    labels = sorted((data / "gtFine/val").glob("*/*_labelIds.png"))
    handed_in = [next((tmp_path / "ids").glob(f"**/{path.name.partition('_gtFine')[0]}*.png")) for path in labels]
    assert [path.name for path in handed_in] == [path.name for path in sorted(data.glob("leftImg8bit/val/*/*.png"))]
    script.args.evalInstLevelScore = False
    script.args.JSONOutput = False
    script.args.quiet = True
    official = script.evaluateImgLists([str(path) for path in handed_in], [str(path) for path in labels], script.args)
    recorded = only_result(finished)["metrics"]
    assert official["averageScoreClasses"] == pytest.approx(recorded["miou"], abs=1e-12)
    scores = {name: score for name, score in official["classScores"].items() if not np.isnan(score)}
    assert scores == pytest.approx({name[4:]: iou for name, iou in recorded.items() if name.startswith("iou/")})
    for path, label in zip(handed_in, labels, strict=True):
        with Image.open(path) as image, Image.open(label) as truth:
            assert (image.mode, image.size) == ("L", truth.size)
            assert set(np.unique(np.asarray(image)).tolist()) <= set(cityscapes.label_ids())
    assert predict(run, data / "leftImg8bit/val", tmp_path / "ids", "cpu", ids=True) == 0


def test_results_of_different_kinds_are_not_mixed(finished: Path, tmp_path: Path) -> None:
    (run,) = finished.glob("*/0")
    images = finished.parent / "data/demo/cityscapes/leftImg8bit/val"
    assert predict(run, images, tmp_path / "out", "cpu") == 2
    with pytest.raises(DataError, match="made with other results: name another folder"):
        predict(run, images, tmp_path / "out", "cpu", ids=True)
    next((tmp_path / "out").glob(".*.json")).unlink()
    with pytest.raises(DataError, match="does not say of what it was made"):
        predict(run, images, tmp_path / "out", "cpu")
    with pytest.raises(DataError, match="would be taken for an image there the next time"):
        predict(run, images, images / "out", "cpu")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("attention=nonlocal", "rga: .*is none: it has no method gate.*task.grid=false"),
        ("task.auxiliary_stage=layer9", "rga: .*layer9.*layer1"),
        ("+task.hread=1", "rga: .*hread"),
        ("data=camvid", "rga: data: there are no demo data for camvid"),
    ],
)
def test_what_cannot_be_built_is_one_message(tmp_path: Path, override: str, message: str) -> None:
    done = train(tmp_path / "runs", override, "task.auxiliary=0.4", check=False)
    assert done.returncode != 0
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
