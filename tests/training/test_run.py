"""A run from its command to its record: what it writes, that it is not repeated, that it survives being killed."""

from pathlib import Path

import pytest

from rga.inference.evaluation import evaluate
from rga.inference.trained import load
from training.command import kill_after_a_checkpoint, only_result, train, what_counts


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "runs"
    train(folder, "attention=rga_sc")
    return folder


def test_the_record_says_what_was_done(finished: Path) -> None:
    result = only_result(finished)
    assert {"rank1", "rank5", "rank10", "map", "map_trapezoid", "minp", "pre_bn/map"} <= result["metrics"].keys()
    assert all(0 <= value <= 1 for value in result["metrics"].values())
    assert result["data"]["train"]["identities"] == 10
    assert result["config"]["attention"]["block"]["_target_"] == "rga.attention.RGASC"
    assert [entry["epoch"] for entry in result["curve"]] == [1, 2, 3, 4]
    assert {"versions", "commit", "device", "duration_s", "finished_at", "fingerprint", "seed"} <= result.keys()
    (folder,) = finished.glob("*/0")
    assert folder.parent.name == result["fingerprint"]
    assert {"last.ckpt", "train.log", "csv"} <= {path.name for path in folder.iterdir()}


def test_tested_again_it_gives_the_same(finished: Path) -> None:
    (folder,) = finished.glob("*/0")
    assert evaluate(load(folder))["metrics"] == pytest.approx(only_result(finished)["metrics"], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["+trainer.callbacks=[{_target_: lightning.pytorch.callbacks.StochasticWeightAveraging, swa_lrs: 0.01}]"],
            "trainer: callbacks: rga gives this itself",
        ),
        (["+trainer.logger=false"], "trainer: logger: rga gives this itself"),
        (
            ["+logger.other={_target_: lightning.pytorch.loggers.CSVLogger, save_dir: x}"],
            "logger.other is made by the run, with its folder as save_dir: add _partial_: true",
        ),
        (["trainer.strategy=ddp_spawn", "trainer.devices=2"], "trainer.strategy: a run cannot be sent to processes"),
    ],
)
def test_what_would_be_left_out_or_fail_is_refused(tmp_path: Path, options: list[str], told: str) -> None:
    done = train(tmp_path / "runs", *options, check=False)
    assert done.returncode == 1
    assert told in done.stderr
    assert not list(tmp_path.glob("runs/*/*/last.ckpt"))


def test_a_job_that_would_be_another_run_does_nothing(finished: Path) -> None:
    """A sweep, or a plan, tells each job the name of its run."""
    done = train(finished, "attention=rga_s", "hydra.job.name=0123456789ab/0", check=False)
    assert done.returncode == 1
    assert "0123456789ab/0 was to be made: the configs or the sources have changed" in done.stderr
    only_result(finished)


def test_a_finished_run_is_not_repeated(finished: Path) -> None:
    (path,) = finished.glob("*/*/result.json")
    before = path.stat().st_mtime_ns
    done = train(finished, "attention=rga_sc")
    assert "finished before" in done.stderr
    assert path.stat().st_mtime_ns == before


def test_a_run_knows_the_table_cells_it_fills(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when their configs have never been composed before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = finished.parent / "cells"
    train(folder, "attention=rga_sc", "recipe.epochs=1", f"data.root={finished.parent / 'data/demo/market1501'}")
    assert only_result(folder)["cells"] == []  # demo data of another size are in no table


def test_where_a_run_lies_and_how_it_is_watched_do_not_rename_it(finished: Path, tmp_path: Path) -> None:
    done = train(finished, "attention=rga_sc", f"paths.cache={tmp_path}", "logger=tensorboard", "data.test_batch=128")
    assert "finished before" in done.stderr


@pytest.mark.parametrize("moment", ["saved", "batch", "writing"])
def test_killed_and_started_again_it_ends_the_same(finished: Path, moment: str) -> None:
    """SIGKILL after the first checkpoint, in the next epoch, or while the second is written: the same, bit for bit."""
    folder = finished.parent / f"killed_{moment}"
    kill_after_a_checkpoint(folder, "attention=rga_sc", moment=moment)
    done = train(folder, "attention=rga_sc")
    assert "resuming from" in done.stderr
    assert what_counts(only_result(folder)) == what_counts(only_result(finished))


def test_rerun_starts_anew(finished: Path) -> None:
    before = only_result(finished)
    done = train(finished, "attention=rga_sc", "rerun=true")
    assert "resuming from" not in done.stderr
    assert what_counts(only_result(finished)) == what_counts(before)


def test_a_diverging_run_stops_and_says_what_to_do(tmp_path: Path) -> None:
    done = train(tmp_path / "runs", "recipe.optimizer.lr=1e30", check=False)
    assert done.returncode != 0
    assert "not finite" in done.stderr
    assert "recipe.optimizer.lr" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*/*/result.json"))


def test_missing_data_stop_before_training(tmp_path: Path) -> None:
    done = train(tmp_path / "runs", "data.demo=null", f"data.root={tmp_path / 'nowhere'}", check=False)
    assert done.returncode != 0
    assert "bounding_box_train" in done.stderr
    assert str(tmp_path / "nowhere") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+trainer.fast_dev_run=true", "a test on some batches is no result: for a quick try use scale=demo"),
        ("+trainer.fast=true", "unexpected keyword argument 'fast'"),
    ],
)
def test_an_option_of_the_trainer_that_is_refused(tmp_path: Path, override: str, message: str) -> None:
    done = train(tmp_path / "runs", override, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").glob("*/*/result.json"))
