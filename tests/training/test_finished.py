"""Finished means: trained for as many epochs as the config says, on the data that are there, tested, finite."""

import json
import shutil
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from rga.data.demo.writers import write_cifar10, write_cityscapes, write_market1501
from rga.errors import ConfigError, DataError
from rga.network import component
from rga.runs import Run, fingerprint
from rga.runs.compose import compose
from rga.runs.inputs import Inputs, InputsError
from rga.runs.queries import per_query
from rga.tasks import ReID
from rga.training.checkpoints import LAST, time_limit
from rga.training.loop import run
from training.command import CIFAR, SCENES, SMALL, command, only_result, train, what_counts

REAL = [line for line in SMALL if "data.demo" not in line]  # the same images, as a data set of one's own


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "runs"
    train(folder)
    return folder


def test_the_metrics_are_those_that_a_sweeper_can_ask_for(finished: Path) -> None:
    assert set(only_result(finished)["metrics"]) == set(ReID.metric_names({}, ()))


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

    def told(root: str, *overrides: str, check: bool = True) -> str:
        return train(folder, f"data.root={data / root}", "data.demo=null", *overrides, check=check, small=REAL).stderr

    told("A")
    before = only_result(folder)
    assert "finished before" in told("A")
    shutil.move(data / "A", data / "moved")
    assert "finished before" in told("moved")
    refusal = told("B", check=False)
    assert "was made of other inputs" in refusal
    assert taken.name in refusal
    assert "Traceback" not in refusal
    assert only_result(folder) == before
    assert "not compared with its data" in told("nowhere")


def test_a_broken_image_of_the_test_costs_no_training(finished: Path, tmp_path: Path) -> None:
    """It is found when the training is over; once it is mended, the same command only tests."""
    shutil.copytree(finished.parent / "data" / "demo" / "market1501", tmp_path / "set")
    (tmp_path / "set" / "demo.json").unlink()
    broken = sorted((tmp_path / "set" / "query").glob("*.jpg"))[0]
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    options = [f"data.root={tmp_path / 'set'}", "data.demo=null", "data.name=mine"]
    assert f"cannot read the image {broken}" in train(tmp_path / "runs", *options, check=False, small=REAL).stderr
    (checkpoint,) = tmp_path.glob("runs/*/*/last.ckpt")
    trained = checkpoint.stat().st_mtime_ns
    broken.write_bytes(whole)
    told = train(tmp_path / "runs", *options, small=REAL).stderr
    assert "resuming with other images to test on than before: as many images, but not the same ones" in told
    assert f"1 changed: query/{broken.name}" in told
    assert checkpoint.stat().st_mtime_ns == trained
    assert only_result(tmp_path / "runs")["metrics"] == only_result(finished)["metrics"]


def unfinished(config: dict[str, Any]) -> Path:
    """The folder of a run that has a checkpoint and what it was made of, and no result."""
    data, folder = component(config["data"]), Run(config["paths"]["runs"], config).folder
    data.prepare_data()
    Inputs.of(config, data.index()).write(folder)
    (folder / LAST).touch()
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[str, bytes], str]:
    """An override for a file of weights, of the same name in different folders."""

    def override(folder: str, content: bytes) -> str:
        file = tmp_path / folder / "model_final.pth"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        return f"backbone.weights={file}"

    return override


def config_of(folder: Path, *overrides: str, small: list[str] = SMALL) -> dict[str, Any]:
    return compose([*small, f"paths.runs={folder / 'runs'}", f"paths.data={folder / 'data'}", *overrides])


def refused(config: dict[str, Any]) -> str:
    """What `rga train` says, which ends before it trains."""
    with pytest.raises(InputsError) as error:
        run(OmegaConf.create(config))
    return str(error.value)


def test_an_unfinished_run_does_not_go_on_with_other_data(tmp_path: Path, cache: Path) -> None:
    demo = {"identities": 4, "test_identities": 2, "images": 2, "distractors": 0, "junk": 0}
    for name, seed in (("A", 0), ("B", 1)):
        write_market1501(tmp_path / name, **demo, seed=seed)
        (tmp_path / name / "demo.json").unlink()
    first, second = (
        config_of(tmp_path, f"data.root={tmp_path / name}", "data.demo=null", small=REAL) for name in ("A", "B")
    )
    folder = unfinished(first)
    before = (folder / "inputs.json").read_bytes()
    assert "was made of other inputs" in refused(second)
    assert (folder / LAST).exists()
    assert (folder / "inputs.json").read_bytes() == before


@pytest.mark.parametrize(
    ("small", "write"),
    [(REAL, write_market1501), (CIFAR, partial(write_cifar10, train=100, test=60)), (SCENES, write_cityscapes)],
)
def test_synthetic_data_are_not_trained_on_as_real_ones(
    tmp_path: Path, cache: Path, small: list[str], write: Callable[[Path], Path]
) -> None:
    """Their metrics would stand in the tables as those of the data set."""
    synthetic = write(tmp_path / "synthetic")
    own = [line for line in small if "data.demo" not in line]
    config = config_of(tmp_path, f"data.root={synthetic}", "++data.demo=null", small=own)
    with pytest.raises(DataError, match=r"synthetic holds synthetic images in the layout of .*data\.demo="):
        run(OmegaConf.create(config))
    assert not list(tmp_path.rglob("last.ckpt"))
    (synthetic / "demo.json").rename(tmp_path / "demo.json")  # one above the root is of another set
    if small is not CIFAR:  # whose reader takes other numbers of images from a synthetic set alone
        assert not component(config["data"]).synthetic


@pytest.mark.parametrize("demo", [True, False])
def test_other_weights_under_the_same_name(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], weights: Callable[..., str], demo: bool
) -> None:
    """Whether the data are synthetic or not, whether the run is finished or not."""
    small = [*SMALL, "recipe.identities=2", "++data.demo={identities: 4, test_identities: 2, images: 2, seed: 0}"]
    if not demo:
        write_market1501(tmp_path / "real", identities=4, test_identities=2, images=2)
        (tmp_path / "real" / "demo.json").unlink()
        small = [*small, f"data.root={tmp_path / 'real'}", "data.demo=null"]
        small = [line for line in small if not line.startswith("++")]
    first, same, other = (
        config_of(tmp_path, weights(folder, content), small=small)
        for folder, content in (("a", b"one"), ("b", b"one"), ("c", b"two"))
    )
    assert fingerprint(first) == fingerprint(other)
    folder = unfinished(first)
    assert "the weights model_final.pth are another file of the same name" in refused(other)
    Run(first["paths"]["runs"], first).write_result({"metrics": {"rank1": 0.5}})
    assert "the weights model_final.pth are another file of the same name" in refused(other)
    assert run(OmegaConf.create(same)) == {"rank1": 0.5}
    assert f"finished before: {folder}\n" in capsys.readouterr().err
    (tmp_path / "b" / "model_final.pth").unlink()
    assert run(OmegaConf.create(same)) == {"rank1": 0.5}
    assert "not compared with its weights: nothing is at" in capsys.readouterr().err


def test_weights_count_where_they_act(tmp_path: Path, cache: Path, weights: Callable[..., str]) -> None:
    """Given to the trunk alone, past backbone.weights."""
    first, other = (
        config_of(tmp_path, weights(folder, content).replace("backbone.", "backbone.trunk."))
        for folder, content in (("a", b"one"), ("b", b"two"))
    )
    unfinished(first)
    assert "the weights model_final.pth are another file of the same name" in refused(other)


def test_a_rerun_that_cannot_begin_leaves_the_old_run(tmp_path: Path, cache: Path) -> None:
    write_market1501(tmp_path / "set", identities=4, test_identities=2, images=2)
    (tmp_path / "set" / "demo.json").unlink()
    here, nowhere = (
        config_of(tmp_path, f"data.root={tmp_path / name}", "data.demo=null", "rerun=true", small=REAL)
        for name in ("set", "nowhere")
    )
    folder = unfinished(here)
    Run(here["paths"]["runs"], here).write_result({"metrics": {"rank1": 0.5}})
    before = {path.name: path.read_bytes() for path in folder.glob("*.*")}
    with pytest.raises(DataError, match="nowhere"):
        run(OmegaConf.create(nowhere))
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_strict_json_and_what_it_was_made_of(finished: Path) -> None:
    (path,) = finished.glob("*/*/result.json")
    result = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert result["inputs"]["data"]["train"]["images"] == result["data"]["train"]["images"]
    assert {"inputs.json", "index.txt.gz"} <= {file.name for file in path.parent.iterdir()}


def test_the_metrics_of_each_query_are_kept(finished: Path) -> None:
    result = only_result(finished)
    for metric in ("map", "rank1", "rank5", "rank10"):
        values = per_query(result, metric)
        assert values is not None
        assert len(values) == result["data"]["query"]["counted"]
        assert statistics.fmean(values) == pytest.approx(result["metrics"][metric], abs=1e-5)


def test_the_log_begins_with_what_is_set(finished: Path) -> None:
    (log,) = finished.glob("*/*/train.log")
    assert "recipe.epochs is 4 instead of 600 (command line)" in log.read_text()
    assert "attention=none" not in " ".join(command(finished))


@pytest.mark.parametrize("text", ["5 minutes", "1:00", "00:00:00:00:01", "x"])
def test_a_time_limit_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="DD:HH:MM:SS"):
        time_limit(text)
