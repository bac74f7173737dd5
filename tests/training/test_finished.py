"""Finished means: trained for as many epochs as the config says, on the data that are there, tested, finite."""

import json
import shutil
from pathlib import Path

import pytest

from rga.errors import ConfigError
from rga.training.checkpoints import time_limit
from training.command import SMALL, command, only_result, train, what_counts

REAL = [line for line in SMALL if "data.demo" not in line]  # the same images, as a data set of one's own


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "runs"
    train(folder)
    return folder


def test_a_run_that_was_stopped_is_resumed(finished: Path) -> None:
    """By a time limit: at the end of an epoch, with its checkpoint, and the rest is as without the stop."""
    folder = finished.parent / "stopped"
    done = train(folder, "trainer.max_time=00:00:00:00", "trainer.checkpoint_minutes=60", check=False)
    assert done.returncode == 1
    assert "stopped after epoch 1 of 4" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("*/*/result.json"))
    assert list(folder.glob("*/*/last.ckpt"))
    assert "resuming from" in train(folder).stderr
    assert what_counts(only_result(folder)) == what_counts(only_result(finished))


def test_a_run_that_stops_within_an_epoch_has_no_result(finished: Path) -> None:
    folder = finished.parent / "steps"
    done = train(folder, "+trainer.max_steps=3", check=False)
    assert done.returncode == 1
    assert "not finished and nothing is recorded" in done.stderr
    assert not list(folder.glob("*/*/result.json"))
    train(folder)
    assert what_counts(only_result(folder)) == what_counts(only_result(finished))


def test_other_data_under_the_same_name(finished: Path) -> None:
    data, folder = finished.parent / "data", finished.parent / "real"
    for name in ("A", "B"):
        shutil.copytree(data / "demo" / "market1501", data / name)
        (data / name / "demo.json").unlink()
    taken = sorted(path for path in (data / "B").rglob("*.jpg") if "train" in str(path.parent))[0]
    taken.unlink()

    def run(root: str, *overrides: str, check: bool = True) -> str:
        return train(folder, f"data.root={data / root}", "data.demo=null", *overrides, check=check, small=REAL).stderr

    run("A")
    before = only_result(folder)
    assert "finished before" in run("A")
    shutil.move(data / "A", data / "moved")
    assert "finished before" in run("moved")
    told = run("B", check=False)
    assert "was made of other inputs" in told
    assert taken.name in told
    assert "Traceback" not in told
    assert only_result(folder) == before
    assert "not compared with its data" in run("nowhere")


def test_strict_json_and_what_it_was_made_of(finished: Path) -> None:
    (path,) = finished.glob("*/*/result.json")
    result = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert result["inputs"]["data"]["train"]["images"] == result["data"]["train"]["images"]
    assert {"inputs.json", "index.txt.gz"} <= {file.name for file in path.parent.iterdir()}


def test_the_log_begins_with_what_is_set(finished: Path) -> None:
    (log,) = finished.glob("*/*/train.log")
    assert "recipe.epochs is 4 instead of 600 (command line)" in log.read_text()
    assert "attention=none" not in " ".join(command(finished))


@pytest.mark.parametrize("text", ["5 minutes", "1:00", "00:00:00:00:01", "x"])
def test_a_time_limit_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="DD:HH:MM:SS"):
        time_limit(text)
