"""Image classification through the same trainer: its record, its resumption, its processes, the options for speed."""

from functools import partial
from pathlib import Path

import pytest

from training import command as cli
from training.command import CIFAR, kill_after_a_checkpoint, only_result, what_counts

train = partial(cli.train, small=CIFAR)
BLOCK = "attention=rga_sc"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cifar") / "runs"
    train(folder, BLOCK)
    return folder


def test_the_record_says_what_was_done(finished: Path) -> None:
    result = only_result(finished)
    assert result["metrics"].keys() == {"error", "top5_error"}
    assert result["metrics"]["error"] == pytest.approx(result["curve"][-1]["val/error"])  # the last epoch's
    assert result["metrics"]["error"] < 0.85  # ten classes of synthetic images
    assert result["data"]["train"] == {"images": 200, "classes": 10}
    assert result["config"]["attention"] == {
        "block": {
            "_target_": "rga.attention.RGASC",
            "_partial_": True,
            "reduction": 4,
            "squeeze": 4,
            "zero_init_last": True,
        },
        "after": [1],
    }


def test_killed_and_started_again_it_ends_the_same(finished: Path) -> None:
    folder = finished.parent / "killed"
    kill_after_a_checkpoint(folder, BLOCK, small=CIFAR)
    done = train(folder, BLOCK)
    assert "resuming from" in done.stderr
    assert what_counts(only_result(folder)) == what_counts(only_result(finished))


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """One batch an epoch, so that the curve holds the loss of each step; in double precision, as rounding grows.

    It has 101 images: one process has one more than the other.
    """
    one = ["recipe.batch=102", "data.demo={train: 101, test: 60, seed: 0}"]
    steps = [BLOCK, *one, "trainer.precision=64-true", "trainer.sync_batchnorm=true"]
    train(tmp_path / "one", *steps)
    train(tmp_path / "two", *steps, "trainer=ddp_cpu", "trainer.devices=2")
    expected, got = only_result(tmp_path / "one"), only_result(tmp_path / "two")
    assert got["fingerprint"] == expected["fingerprint"]
    for ours, theirs in zip(got["curve"], expected["curve"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-6)
        assert ours["error"] == pytest.approx(theirs["error"], abs=1e-6)
    assert got["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)


def test_the_options_for_speed(finished: Path, tmp_path: Path) -> None:
    """Together, as a GPU has them; neither memory format nor compilation makes another run of it, precision does."""
    bare = ["attention=none", "recipe.epochs=1"]  # a block takes a minute to compile; test_speed.py has its graph
    train(tmp_path / "bare", *bare)
    train(tmp_path / "tuned", *bare, "trainer.channels_last=true", "trainer.compile=true")
    plain, tuned = only_result(tmp_path / "bare"), only_result(tmp_path / "tuned")
    assert tuned["fingerprint"] == plain["fingerprint"]
    assert tuned["curve"][0]["loss"] == pytest.approx(plain["curve"][0]["loss"], rel=1e-2)
    plain = only_result(finished)
    train(tmp_path / "bf16", BLOCK, "trainer.channels_last=true", "trainer.precision=bf16-mixed")
    mixed = only_result(tmp_path / "bf16")
    assert mixed["fingerprint"] != plain["fingerprint"]
    assert mixed["curve"][0]["loss"] == pytest.approx(plain["curve"][0]["loss"], rel=5e-2)
