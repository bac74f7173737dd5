"""`rga test`: runs, checkpoints and files of the authors' code, on their own data and on others."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor
from typer.testing import CliRunner

from authors import Authors
from metrics import textbook
from rga.cli.app import app
from rga.data import decoding
from rga.data.base import Sample
from rga.data.demo.writers import write_market1501
from rga.data.reid import market1501
from rga.errors import ConfigError
from rga.inference.evaluation import evaluate, text
from rga.inference.trained import load
from rga.network import component
from rga.runs.inputs import Inputs, InputsError
from rga.tasks import ReID, Segmentation
from untrained import CIFAR, SMALL, write_run

SIZE = (64, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        yield tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return write_run(folder, *SMALL, dtype=torch.float64)


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def images(samples: list[Sample]) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = np.stack([decoding.load(sample.path, SIZE) for sample in samples])
    return ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)


def test_a_run_is_tested_and_left_as_it_is(run: Path, folder: Path) -> None:
    before = snapshot(run)
    trained = load(run)
    report = evaluate(trained)
    assert snapshot(run) == before
    epochs = trained.config.recipe.epochs
    assert (report["network"], report["epoch"], report["demo"]) == ("tiny + RGASC", epochs, True)

    split = market1501.read(folder / "data/demo/market1501")
    counted = report["data"]["query"].pop("counted")
    assert report["data"]["query"] == {"images": len(split.query), "identities": 5}
    parts = []
    for samples in (split.query, split.gallery):
        with torch.no_grad():
            parts.append([feature.numpy() for feature in trained.task(images(samples))])
    both = (split.query, split.gallery)
    numbers = [np.array([getattr(sample, key) for sample in part]) for key in ("identity", "camera") for part in both]
    for place, prefix in ((0, "pre_bn/"), (1, "")):
        expected = textbook.evaluate(textbook.similarity(parts[0][place], parts[1][place]), *numbers)
        assert counted == expected["valid_queries"]
        assert report["metrics"][f"{prefix}map"] == pytest.approx(expected["map"], abs=1e-6)
        assert report["metrics"][f"{prefix}rank1"] == pytest.approx(expected["cmc"][0], abs=1e-6)


@pytest.mark.slow
def test_a_run_is_tested_on_the_data_it_was_made_of(tmp_path: Path, cache: Path) -> None:
    """Moved, or without the training split, they are the same data; with another image they are not."""
    own = [line for line in SMALL if "data.demo" not in line]
    write_market1501(tmp_path / "here", identities=3, test_identities=5, images=2, distractors=3, junk=1)
    (tmp_path / "here" / "demo.json").unlink()
    run = write_run(tmp_path, *own, "data.demo=null", f"data.root={tmp_path / 'here'}")
    Inputs(component(load(run).config.data).index(), None).write(run)
    expected = evaluate(load(run))["metrics"]

    there = tmp_path / "there"
    shutil.move(tmp_path / "here", there)
    shutil.rmtree(there / "bounding_box_train")
    assert evaluate(load(run, [f"data.root={there}"]))["metrics"] == expected
    taken = sorted((there / "bounding_box_test").glob("0*"))[0]
    taken.unlink()
    with pytest.raises(InputsError, match=f"1 gone: gallery/{taken.name}"):
        evaluate(load(run, [f"data.root={there}"]))
    named = evaluate(load(run, [f"data.root={there}", "data.name=mine"]))
    assert named["data"]["name"] == "mine"


def test_on_other_data(run: Path, folder: Path) -> None:
    synthetic = "++data.demo={identities: 2, test_identities: 3, images: 2, distractors: 0, junk: 0, seed: 7}"
    overrides = ["data=market1501_holdout", f"data.root={folder / 'other'}", synthetic]
    trained = load(run, overrides)
    assert trained.config.data.size == [*SIZE]  # the network's, not that of the data's file
    report = evaluate(trained)
    assert report["data"]["name"] == "market1501_holdout"
    assert report["data"]["query"]["identities"] == 3  # the classifier of other people is no hindrance
    assert "demo data in the layout of market1501_holdout" in text(report)
    assert "3 identities" in text(report)


def test_a_file_outside_of_its_run(run: Path, tmp_path: Path) -> None:
    state = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "a.pt")
    wrapped = {f"module.module._orig_mod.{name}": value for name, value in state.items()}
    torch.save({"model": wrapped, "optimizer": {"lr": 1}, "epoch": 3}, tmp_path / "b.pt")
    expected = load(run).task.state_dict()
    for file, overrides in ((run / "last.ckpt", []), (tmp_path / "a.pt", SMALL), (tmp_path / "b.pt", SMALL)):
        loaded = load(file, overrides).task.state_dict()
        assert loaded.keys() == expected.keys()
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)


@pytest.fixture(scope="module")
def authors() -> Authors:
    torch.manual_seed(0)
    trunk = timm.create_model(
        "resnet18", num_classes=0, global_pool="", output_stride=16, layers=[1] * 4, channels=[32, 64, 96, 128],
        stem_type="deep", stem_width=16,
    )  # fmt: skip
    return Authors(7, SIZE, trunk, [(32, 128), (64, 32), (96, 8), (128, 8)])


def test_a_file_of_the_authors_code(authors: Authors, tmp_path: Path, cache: Path) -> None:
    state = {f"module.{name}": value for name, value in authors.state_dict().items()}
    content = {"state_dict": state, "epoch": 600, "best_top1": np.float64(0.9), "best": np.float32(1)}
    torch.save(content, tmp_path / "checkpoint_600.pth.tar")
    trained = load(tmp_path / "checkpoint_600.pth.tar", ["scale=demo"], ReID)
    assert (trained.authors, trained.epoch) == (True, 600)
    x = torch.randn(3, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        _, feature, logits = authors(x)
        before, after = trained.task(x)
    torch.testing.assert_close(before, feature, rtol=0, atol=1e-10)
    torch.testing.assert_close(after, authors.feat_bn(feature), rtol=0, atol=1e-10)
    torch.testing.assert_close(trained.task.classifier(after), logits, rtol=0, atol=1e-10)  # type: ignore[operator]

    del state["module.cls.weight"]  # which no test needs
    torch.save(state, tmp_path / "headless.pth", _use_new_zipfile_serialization=False)
    headless = load(tmp_path / "headless.pth", ["scale=demo"]).task
    with torch.no_grad():
        torch.testing.assert_close(headless(x)[0], feature, rtol=0, atol=1e-10)


def test_a_file_of_another_network(authors: Authors, tmp_path: Path, cache: Path) -> None:
    torch.save(authors.state_dict(), tmp_path / "a.pth.tar")
    with pytest.raises(ConfigError, match="another network than backbone=tiny") as error:
        load(tmp_path / "a.pth.tar", ["scale=demo", "attention=rga_s"])
    assert re.search(r"unexpected: backbone\.rga_att1\.W_channel\.0\.weight, .* and \d+ more", str(error.value))
    with pytest.raises(ConfigError, match="of another shape: ") as error:
        load(tmp_path / "a.pth.tar", ["scale=demo", "data.size=[128,64]"])
    assert len(str(error.value)) < 2000
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(ConfigError, match=r"(?s)missing: backbone\..* more.*unexpected: conv1\.weight"):
        load(tmp_path / "b.pth", ["scale=demo"])


class Stranger:
    pass


def test_what_cannot_be_loaded(run: Path, tmp_path: Path) -> None:
    def fails(path: Path, message: str, *overrides: str, **options: Any) -> None:
        with pytest.raises(ConfigError, match=message):
            load(path, overrides, **options)

    fails(tmp_path, r"no finished run in .*: expected result\.json")
    fails(run.parent.parent, f"there are runs in it, name one: {run}")
    fails(tmp_path / "nothing", "no run and no checkpoint at")
    fails(run, "is of a run of ReID, expected one of Segmentation", kind=Segmentation)

    whole = (run / "last.ckpt").read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("text", b"hello")):
        (tmp_path / name).write_bytes(content)
        fails(tmp_path / name, "is damaged")
    (tmp_path / "empty").touch()
    fails(tmp_path / "empty", "empty is empty, as after an interrupted download")
    (tmp_path / "last.ckpt").write_bytes(whole)
    fails(tmp_path, "is not finished")
    assert load(tmp_path / "last.ckpt", SMALL).epoch == load(run).config.recipe.epochs
    torch.save([1, 2], tmp_path / "list.pt")
    fails(tmp_path / "list.pt", "holds no state dict")
    torch.save({"state_dict": {}, "args": Stranger()}, tmp_path / "stranger.pt")
    fails(tmp_path / "stranger.pt", r"a Python object \(\S*Stranger\).*weights_only=False")

    alone = tmp_path / run.parent.name / run.name
    alone.mkdir(parents=True)
    (alone / "result.json").write_bytes((run / "result.json").read_bytes())
    fails(alone, r"has no last\.ckpt")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data=cifar10", "needs data of ReIDData, these are of ImageData"),
        ("data=nowhere", "nowhere"),
        ("backbone=resnet18", "is tested as it is, but for data=NAME"),
        ("data.tset_batch=3", r"tset_batch.*\+data\.tset_batch=3 adds"),
        ("data.test_batch", "data.test_batch"),
        ("seed=1,2", "is tested as it is"),
        ("++task.nonsense=1", "nonsense"),
    ],
)
def test_overrides_that_make_no_sense(run: Path, cache: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(run, [override])


def test_classes_have_to_be_the_same(tmp_path: Path, cache: Path) -> None:
    run = write_run(tmp_path, *CIFAR, classes=10)
    report = evaluate(load(run))
    assert 0 <= report["metrics"]["error"] <= 1
    assert report["data"]["test"] == {"images": 100, "classes": 10}
    result = json.loads((run / "result.json").read_text())
    names = list(map(str, range(10)))
    for classes, said in ((names, "number 0 is 0 there and red_disc here"), (None, None)):
        (run / "result.json").write_text(json.dumps({**result, "classes": classes} if classes else result))
        with pytest.raises(ConfigError, match=said) if said else nullcontext():
            evaluate(load(run))
    with pytest.raises(ConfigError, match="tells 10 classes apart, the data have 100"):
        evaluate(load(run, ["data=cifar100", "scale=demo", "data.demo={train: 100, test: 100, seed: 0}"]))


def test_the_command(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    printed = CliRunner().invoke(app, ["test", str(run), "data.test_batch=16", "--format", "json"])
    assert printed.exit_code == 0, printed.output
    assert {"rank1", "map"} <= json.loads(printed.stdout)["metrics"].keys()
    assert "error" in str(CliRunner().invoke(app, ["test", str(run), "--feature", "middle"]).output).lower()


def test_weights_and_features_that_are_not_finite(run: Path, tmp_path: Path) -> None:
    """Neither is blamed on a recipe, nor ranked."""
    whole = torch.load(run / "last.ckpt", weights_only=True)
    whole["state_dict"]["neck.running_var"][0] = torch.nan
    torch.save(whole, tmp_path / "nan.pt")
    with pytest.raises(ConfigError, match=r"nan\.pt holds weights that are not finite, .*: neck\.running_var"):
        load(tmp_path / "nan.pt", SMALL)
    trained = load(run)
    with torch.no_grad():
        next(trained.task.parameters()).fill_(torch.nan)
    with pytest.raises(ConfigError, match=r"query features are not finite, .*: the weights are damaged, or too large"):
        evaluate(trained)


def test_files_of_other_code(tmp_path: Path, cache: Path) -> None:
    trunk = {"conv1.weight": torch.zeros(1), "layer1.0.conv1.weight": torch.zeros(1)}
    torch.save(
        {"state_dict": trunk | {"classifier.weight": torch.zeros(2, 1)}, "rank1": 0.9}, tmp_path / "torchreid.pt"
    )
    fast = {f"backbone.{name}": value for name, value in trunk.items()}
    torch.save(
        {"model": fast | {"heads.weight": torch.zeros(2, 1), "pixel_mean": torch.zeros(3)}}, tmp_path / "fast.pt"
    )
    for name, whose in (("torchreid.pt", "a network alone, as torchreid's"), ("fast.pt", "fast-reid's names")):
        with pytest.raises(
            ConfigError, match=rf"(?s)another network than .*{whose}.*backbone\.weights={tmp_path / name}"
        ):
            load(tmp_path / name, ["scale=demo"])


def test_without_a_training_part(run: Path, folder: Path, tmp_path: Path) -> None:
    evaluate(load(run))  # writes the data
    shutil.copytree(folder / "data/demo/market1501", tmp_path / "set")
    shutil.rmtree(tmp_path / "set/bounding_box_train")
    whole, without = (
        evaluate(load(run, ["data.demo=null", f"data.root={root}"]))
        for root in (folder / "data/demo/market1501", tmp_path / "set")
    )
    assert without["metrics"] == whole["metrics"]
    assert without["data"]["train"] == {"images": 0, "identities": 0}
