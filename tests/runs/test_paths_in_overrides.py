"""Paths as people's disks have them, in overrides and in the commands that take one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from rga.cli.app import app
from rga.inference.trained import load
from rga.runs.compose import compose
from rga.runs.paths_in_overrides import quoted
from untrained import SMALL, write_run

STRANGE = "é a(b)=c'd'#e,f$g [h]"
names = st.text("aé0 ()[]{}=',#$~&+*?!;:%@|\"\\.", min_size=1).filter(lambda name: "${" not in name)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(name=names)
def test_every_path_comes_through(name: str) -> None:
    path = f"/data/{name}"
    (word,) = quoted([f"++data.root={path}"])
    assert OverridesParser.create().parse_override(word).value() == path
    assert quoted([word]) == [word]


def test_what_is_no_path_stays() -> None:
    words = ["seed=0,1", "data=market1501", "attention.after=[1,2]", "--config-dir=/a b", "-m", "paths.runs='/a b'"]
    words += ["data.root=${paths.data}/my set", "backbone.weights=null", "~data.cache", "paths.runs=/plain/0.1_x:y@z%-"]
    assert quoted(words) == words


def test_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves the ~ of paths.runs=~/runs as it is, and a folder of that name would be made."""
    monkeypatch.setenv("HOME", "/home/me")
    assert quoted(["paths.runs=~/runs", "data.root=a~b"]) == ["paths.runs=/home/me/runs", "data.root='a~b'"]
    assert compose(["paths.runs=~/runs"])["paths"]["runs"] == "/home/me/runs"
    monkeypatch.setenv("PLACE", "~/data")  # as a file of one's own may have it
    assert compose(["paths.data=${oc.env:PLACE}"])["paths"]["data"] == "/home/me/data"


def test_a_sweep_over_files(tmp_path: Path) -> None:
    assert quoted(["backbone.weights=é.pt,b.pt"], sweep=True) == ["backbone.weights='é.pt',b.pt"]
    (tmp_path / "a,b.pt").touch()
    assert quoted([f"backbone.weights={tmp_path}/a,b.pt"], sweep=True) == [f"backbone.weights='{tmp_path}/a,b.pt'"]


def test_composing(cache: Path, tmp_path: Path) -> None:
    for name in (STRANGE, "~", "\\", "'", "x'"):
        found = compose([f"data.root=/data/{name}", f"paths.runs=/runs/{name}", f"backbone.weights=/w/{name}.pt"])
        assert found["data"]["root"] == f"/data/{name}"
        assert found["paths"]["runs"] == f"/runs/{name}"
        assert found["backbone"]["trunk"]["weights"] == f"/w/{name}.pt"


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paths") / STRANGE
    folder.mkdir()
    return folder


def rga(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_commands_for_data(strange: Path, cache: Path) -> None:
    options = ["identities=6", "test_identities=2", "images=2", "distractors=1", "junk=1"]
    assert f"written in {strange / 'market'}" in rga("data", "demo", "market1501", strange / "market", *options)
    assert "all is well" in rga("data", "check", "market1501", strange / "market")
    rga("data", "holdout", "market1501", strange / "market", strange / "cut")
    assert "all is well" in rga("data", "check", "market1501_holdout", strange / "cut")
    lines = rga("train", "scale=demo", f"data.root={strange / 'market'}", "--explain")
    assert str(strange / "market") in lines


@pytest.mark.slow
def test_commands_for_weights(strange: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    run = write_run(strange, *SMALL, "data.test_batch=8")
    report = json.loads(rga("test", run, "--format", "json"))
    shutil.copytree(Path(report["root"]), strange / "moved")
    moved = json.loads(rga("test", run, f"data.root={strange / 'moved'}", "data.demo=null", "--format", "json"))
    assert moved["metrics"] == report["metrics"]
    shutil.copy(run / "last.ckpt", strange / "weights.pt")
    assert load(strange / "weights.pt", [*SMALL, f"paths.data={strange / 'data'}"]).weights == strange / "weights.pt"
    (strange / "images").mkdir()
    for number in range(3):
        Image.new("RGB", (8, 16), (80 * number, 0, 0)).save(strange / "images" / f"{number}{STRANGE}.png")
    assert "features of 3 images" in rga("extract", run, strange / "images", strange / "features")
    printed = rga("search", run, strange / "features", strange / "images", "--out", strange / "ranks.png")
    assert printed.count(f"{STRANGE}.png") == 9  # three queries, and each one's two matches
    assert (strange / "ranks.png").exists()


@pytest.mark.slow
def test_a_training(strange: Path, cache: Path) -> None:
    """Hydra's own command line, with runs, data and weights in such folders."""
    small = [
        *SMALL, "data.size=[32,16]", "recipe.identities=2", "recipe.images=2", "recipe.epochs=1", "attention=none",
        f"paths.runs={strange / 'trained'}", f"paths.data={strange / 'synthetic'}",
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "rga", "train", *small], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = (strange / "trained").glob("*/0/result.json")
    assert json.loads(result.read_text())["config"]["paths"]["runs"] == str(strange / "trained")
