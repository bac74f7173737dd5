"""Runs on data of one's own, to their results."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rga.cli.app import app
from rga.data.demo import writers
from rga.data.marker import MARKER
from rga.data.reid import holdout
from rga.errors import DataError
from rga.inference.evaluation import evaluate
from rga.inference.prediction import predict
from rga.inference.trained import load
from rga.runs.inputs import InputsError
from rga.training import reused
from training.command import SHAPES, only_result, train, what_counts
from training.inside import make

PARTS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A holdout of synthetic people in Market-1501's layout, not marked as such: to be taken for anybody's own."""
    folder = tmp_path_factory.mktemp("own")
    root = writers.write_market1501(
        folder / "market", identities=15, test_identities=1, images=2, distractors=0, junk=0
    )
    holdout.write("market1501", root, folder / "holdout")
    (folder / "holdout" / MARKER).unlink()
    (folder / "market" / MARKER).unlink()
    return folder / "holdout"


def rga(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def as_table(folder: Path, file: Path) -> Path:
    """From the names alone, last images first."""
    with file.open("w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow(["path", "identity", "camera", "split"])
        for path in sorted(folder.glob("*/*.jpg"), reverse=True):
            identity, camera = re.match(r"(\d{4})_c(\d)", path.name).groups()
            lines.writerow([path.relative_to(folder), identity, camera, PARTS[path.parent.name]])
    return file


@pytest.mark.slow
def test_markets_holdout_as_a_table_gives_the_same_metrics(cut: Path, tmp_path: Path) -> None:
    """Bit for bit, the learning curve as well; and a table of other labels is another input."""
    file, real = as_table(cut, tmp_path / "people.csv"), ["data.demo=null", "recipe.epochs=2"]
    by_names = make(tmp_path / "names", *real, "data=market1501_holdout", f"data.root={cut}")
    own = [*real, "data=reid_table", f"data.table={file}", f"data.root={cut}"]
    by_table = make(tmp_path / "table", *own)
    assert what_counts(by_table) == what_counts(by_names)
    assert by_table["queries"] == by_names["queries"]
    assert by_table["data"] == {**by_names["data"], "name": "reid_table"}
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    make(tmp_path / "table", *own)  # the order of the lines is no matter: finished before
    train = next(number for number, line in enumerate(lines) if line.endswith("train"))
    lines[train] = re.sub(r",\d{4},", ",9999,", lines[train])
    file.write_text("\n".join(lines))
    reused._index.cache_clear()  # of this process
    with pytest.raises(InputsError, match="made of other inputs than these: as many images, but not the same"):
        make(tmp_path / "table", *own)


@pytest.mark.slow
def test_synthetic_people_in_a_table_are_not_real_ones(tmp_path: Path) -> None:
    root = writers.write_reid_table(tmp_path / "set", identities=6, test_identities=2, images=2)
    with pytest.raises(DataError, match="holds synthetic images in the layout of reid_table"):
        make(
            tmp_path / "runs",
            "data=reid_table",
            f"data.table={root / 'table.csv'}",
            f"data.root={root}",
            "data.demo=null",
        )


@pytest.mark.slow
def test_three_classes_in_two_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/own_data.md has it, with fewer images and epochs."""
    monkeypatch.chdir(tmp_path)
    rga("data", "demo", "image_folder", "data/shapes", "train=96", "val=30")
    demo = "data.demo={train: 96, val: 30, seed: 0}"
    folder = tmp_path / "runs"
    train(folder, "data.root=data/shapes", demo, "attention=rga_sc", "recipe.epochs=8", small=SHAPES)
    result = only_result(folder)
    assert result["metrics"].keys() == {"error"}  # the five best of three are no matter
    assert result["metrics"]["error"] == pytest.approx(result["curve"][-1]["val/error"])
    assert result["metrics"]["error"] < 0.5
    assert result["data"]["train"] == {"images": 96, "classes": 3}
    assert result["classes"] == ["disc", "square", "triangle"]
    assert result["config"]["task"]["smoothing"] == 0.1
    for where in ("data.memory=1000", "data.workers=2", "data.test_batch=7"):  # how it is read is no other run
        assert (
            "finished before"
            in train(
                folder, "data.root=data/shapes", demo, "attention=rga_sc", "recipe.epochs=8", where, small=SHAPES
            ).stderr
        )
    (run,) = folder.glob("*/0")
    assert evaluate(load(run))["metrics"] == pytest.approx(result["metrics"], abs=1e-6)
    assert load(run, ["scale=demo"]).config.data.area == [0.35, 1.0]  # what the scale says of its task's file


@pytest.mark.slow
def test_where_the_images_are_and_two_processes_make_no_difference(tmp_path: Path) -> None:
    """In double precision, as rounding grows."""
    options = [
        "data.demo={train: 24, val: 7, seed: 0}",
        "recipe.batch=8",
        "recipe.epochs=2",
        "trainer.precision=64-true",
    ]
    made = {}
    for name, more in {"one": [], "disk": ["data.memory=0"], "two": ["trainer=ddp_cpu", "trainer.devices=2"]}.items():
        train(tmp_path / name, *options, *more, small=SHAPES)
        made[name] = only_result(tmp_path / name)
    assert what_counts(made["disk"]) == what_counts(made["one"])
    assert made["two"]["fingerprint"] == made["one"]["fingerprint"]
    assert made["two"]["metrics"] == pytest.approx(made["one"]["metrics"], abs=1e-9)
    assert [e["loss"] for e in made["two"]["curve"]] == pytest.approx(
        [e["loss"] for e in made["one"]["curve"]], abs=1e-6
    )


@pytest.mark.slow
def test_masks_in_two_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rga("data", "demo", "mask_folder", "data/masks", "train=8", "val=2", "size=64")
    words = ["experiment=mask_folder", "scale=demo", "trainer.accelerator=cpu", "recipe.epochs=2", "recipe.steps=6"]
    words += ["data.size=[49,49]", "data.demo={train: 8, val: 2, size: 64, seed: 0}", "data.root=data/masks"]
    train(tmp_path / "runs", "attention=rga_sc", small=words)
    result = only_result(tmp_path / "runs")
    assert {"miou", "iou/ground", "iou/disc", "iou/square", "iou/triangle"} == result["metrics"].keys()
    assert result["data"]["train"] == {"images": 8, "classes": 4}
    assert result["classes"] == ["ground", "disc", "square", "triangle"]
    (run,) = (tmp_path / "runs").glob("*/0")
    assert predict(run, tmp_path / "data/masks/images/val", tmp_path / "ids", "cpu", ids=True) == 2
    seen = {number for path in (tmp_path / "ids").glob("*.png") for number in np.unique(np.asarray(Image.open(path)))}
    assert seen <= {0, 1, 2, 3}
    classes = tmp_path / "data/masks/classes.yaml"
    before = classes.read_text()
    for old, new in (("id: 1}", "id: 9}"), ("name: disc", "name: disk")):
        classes.write_text(before.replace(old, new))
        with pytest.raises(DataError, match="was changed after the training"):
            predict(run, tmp_path / "data/masks/images/val", tmp_path / "others", "cpu", ids=True)
    classes.write_text(f"# in the same words\n{before}")
    assert predict(run, tmp_path / "data/masks/images/val", tmp_path / "others", "cpu", ids=True) == 2
