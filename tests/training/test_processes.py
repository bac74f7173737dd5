"""Several processes: the steps of one process, every image counted once, one record."""

from pathlib import Path

import pytest

from training.command import only_result, train

# One step an epoch, so that the curve holds the loss of each step; 5 steps. In double precision: in single, Adam turns
# the rounding of gradients near 0 into whole steps.
STEPS = ["recipe.identities=10", "recipe.images=4", "recipe.epochs=5", "attention=rga_sc", "trainer.precision=64-true"]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes") / "one"
    train(folder, *STEPS, "trainer.sync_batchnorm=true")
    return folder


def test_two_processes_take_the_steps_of_one(one: Path) -> None:
    """The batch is the global one: identities dealt out, triplets mined in the whole batch, BatchNorm synchronised."""
    folder = one.parent / "two"
    train(folder, *STEPS, "trainer=ddp_cpu", "trainer.devices=2", "trainer.sync_batchnorm=true")
    expected, got = only_result(one), only_result(folder)
    assert got["fingerprint"] == expected["fingerprint"]
    assert got["device"].startswith("2 x")
    assert len(got["curve"]) == 5
    for ours, theirs in zip(got["curve"], expected["curve"], strict=True):
        for name in ("loss", "identity", "triplet"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5)
    assert got["metrics"] == pytest.approx(expected["metrics"], abs=0.02)


def test_identities_that_the_processes_cannot_share_are_refused(one: Path) -> None:
    done = train(one.parent / "odd", "recipe.identities=5", "trainer=ddp_cpu", "trainer.devices=2", check=False)
    assert done.returncode != 0
    assert "multiple" in done.stderr or "divi" in done.stderr


def test_a_sweep_in_one_process_refuses_to_start_processes(one: Path) -> None:
    done = train(one.parent / "sweep", "trainer=ddp_cpu", "hydra/launcher=basic", "seed=0,1", sweep=True, check=False)
    assert done.returncode != 0
    assert "hydra/launcher=processes" in done.stderr


def test_a_sweep_of_distributed_runs(one: Path) -> None:
    folder = one.parent / "ddp_sweep"
    train(folder, "recipe.epochs=1", "trainer=ddp_cpu", "trainer.devices=2", "attention=none,rga_s", sweep=True)
    assert len(list(folder.glob("*/*/result.json"))) == 2


def test_a_sweep_that_fails_is_no_mistake_of_ours(tmp_path: Path) -> None:
    done = train(tmp_path / "runs", "recipe.optimizer.lr=-1,-2", sweep=True, check=False)
    assert done.returncode == 1
    assert "Invalid learning rate: -1" in done.stderr
    assert "2 failed" in done.stderr
    assert "mistake in rga" not in done.stderr
    assert "Traceback" not in done.stderr
