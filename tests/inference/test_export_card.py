"""What a card says is of the run and not of what an export was told; and a folder notices that it was changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rga
from rga.errors import ConfigError
from rga.inference import export as exporting
from rga.inference.export import export
from rga.inference.trained import load
from untrained import CIFAR, SMALL, write_run

METRICS = {"rank1": 0.5, "map": 0.25}


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take their time, and nothing here is about them."""
    monkeypatch.setattr(exporting, "_programs", lambda *_: ({"model.onnx": 1e-6}, None))


@pytest.fixture
def run(tmp_path: Path, cache: Path) -> Path:
    return write_run(tmp_path / "reid", *SMALL, "attention.after=[4]", metrics=METRICS)


def change(file: Path, what: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(file.read_text())
    what(content)
    file.write_text(json.dumps(content))


def card(run: Path, out: Path, *overrides: str) -> str:
    export(load(run, overrides), out)
    return (out / "README.md").read_text()


def test_without_overrides_nothing_differs(run: Path, tmp_path: Path) -> None:
    told = card(run, tmp_path / "out")
    assert "- Test: feature=after_bn.\n" in told
    assert "differs" not in told.partition("## Checked")[0]
    assert "the whole image is resized to 64 x 32 (bilinear" in told
    assert "scale demo, from random weights." in told


@pytest.mark.parametrize("override", ["task.flip=true", "task.feature=before_bn"])
def test_another_feature_than_the_metrics_are_of(run: Path, tmp_path: Path, override: str) -> None:
    told = card(run, tmp_path / "out", override)
    assert "- Test: feature=after_bn.\n" in told
    assert "**What is exported differs from that: " in told
    assert override.removeprefix("task.").replace("true", "True") in told
    assert told.index("The metrics below are those of the run's test") < told.index("| rank1 | 50.0 |")


def test_other_data_and_another_precision_are_not_what_it_was_trained_in(run: Path, tmp_path: Path) -> None:
    told = card(run, tmp_path / "out", "data.name=mine", "data.demo=null", "trainer.precision=bf16-mixed")
    assert "trained on market1501\n" in told
    assert "- Data: market1501, **synthetic images**" in told
    assert "Arithmetic is float32.\n" in told
    assert "mine" not in told


def test_weights_of_no_recorded_run(run: Path, tmp_path: Path) -> None:
    """The overrides say which network they are of, and nothing of how it was trained."""
    loose = Path(shutil.copy(run / "last.ckpt", tmp_path / "loose.ckpt"))
    told = card(loose, tmp_path / "out", *SMALL, "attention.after=[4]", "trainer.precision=bf16-mixed")
    assert "- Data, training and test: not recorded with these weights." in told
    assert "None are recorded for these weights" in told
    assert "Licence of the data: not stated here" in told
    for claimed in ("market1501", "synthetic", "epochs", "scale demo", "bf16"):
        assert claimed not in told


def test_what_the_training_began_with(run: Path, tmp_path: Path) -> None:
    def began(result: dict[str, Any]) -> None:
        result["config"]["backbone"]["trunk"]["weights"] = "/disk/runs/0123456789ab/3"
        result["inputs"] = {"weights": {"file": "0123456789ab/3", "digest": "sha256:feed"}}

    change(run / "result.json", began)
    assert "from 0123456789ab/3 (sha256:feed)." in card(run, tmp_path / "file")
    change(run / "result.json", lambda result: result["config"]["backbone"]["trunk"].update(weights=True))
    assert "from the network's default published weights" in card(run, tmp_path / "true")


def test_which_split_the_metrics_are_of(run: Path, tmp_path: Path) -> None:
    trained = load(run)
    change(run / "result.json", lambda result: result["config"]["data"].update(test=["test", "val"]))
    export(trained, tmp_path / "out")
    told = (tmp_path / "out" / "README.md").read_text()
    assert "- Test on the split test, and others by their names: feature=after_bn." in told


def test_the_names_of_the_classes(tmp_path: Path, cache: Path) -> None:
    run = write_run(tmp_path / "cifar", *CIFAR, classes=10)
    told = card(run, tmp_path / "unnamed")
    assert "- Classes, in their order: their names are not recorded" in told
    names = [f"kind{number}" for number in range(10)]
    for classes, expected in ((names, names), (names[:9], None), ([*names[:9], 3], None), ("kinds10xyz", None)):
        change(run / "result.json", lambda result, classes=classes: result.update(classes=classes))  # type: ignore[misc]
        out = tmp_path / f"{len(classes)}{expected is None}{type(classes[-1]).__name__}"
        told = card(run, out)
        assert json.loads((out / "config.json").read_text())["class_names"] == expected
        assert ("- Classes, in their order: kind0, kind1, kind2" in told) == (expected is not None)
        assert rga.load(out).config["class_names"] == expected


def test_weights_that_were_damaged_or_replaced(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(load(run), out)
    weights = out / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 64
    weights.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot be loaded: model\.safetensors was damaged or replaced"):
        rga.load(out)
    change(out / "config.json", lambda config: config.pop("weights_digest"))  # as written before there were digests
    rga.load(out)


@pytest.mark.parametrize(("name", "value"), [("mean", float("nan")), ("std", 0.0), ("std", -1.0)])
def test_a_normalisation_that_gives_no_numbers(run: Path, tmp_path: Path, name: str, value: float) -> None:
    out = tmp_path / "out"
    export(load(run), out)
    change(out / "config.json", lambda config: config["normalisation"].update({name: [value, 0.5, 0.5]}))
    with pytest.raises(ConfigError, match="describes no network that can be built: the normalisation"):
        rga.load(out)
